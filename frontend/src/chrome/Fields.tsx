// Small form parts with a label.
import type { ComponentChildren } from "preact";

export function Field({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <label class="field">
      <span>{name}</span>
      {children}
    </label>
  );
}

export type Option<T extends string> = readonly [value: T, title: string];

export function Select<T extends string>(props: {
  name: string;
  value: T;
  options: readonly Option<T>[];
  groups?: readonly (readonly [string, readonly Option<T>[]])[];
  pick: (value: T) => void;
}) {
  const listed = (options: readonly Option<T>[]) =>
    options.map(([value, title]) => (
      <option key={value} value={value} selected={value === props.value}>
        {title}
      </option>
    ));
  return (
    <select
      aria-label={props.name}
      value={props.value}
      onChange={(event) => props.pick(event.currentTarget.value as T)}
    >
      {listed(props.options)}
      {props.groups?.map(([title, options]) => (
        <optgroup key={title} label={title}>
          {listed(options)}
        </optgroup>
      ))}
    </select>
  );
}
