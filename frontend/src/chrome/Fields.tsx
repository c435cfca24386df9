// Small form parts with a label.
import type { ComponentChildren } from "preact";

export function Field({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    // biome-ignore lint/a11y/noLabelWithoutControl: the control is among the children
    <label class="field">
      <span>{name}</span>
      {children}
    </label>
  );
}

interface ToggleProps {
  name: string;
  title?: string;
  checked: boolean;
  set: (checked: boolean) => void;
}

export function Toggle({ name, title, checked, set }: ToggleProps) {
  return (
    <label class="toggle" title={title}>
      <input type="checkbox" checked={checked} onChange={(event) => set(event.currentTarget.checked)} />
      <span>{name}</span>
    </label>
  );
}

export type Option<T extends string> = readonly [value: T, title: string];
export type OptionGroup<T extends string> = readonly [title: string, options: readonly Option<T>[]];

interface SelectProps<T extends string> {
  name: string;
  value: T;
  options: readonly Option<T>[];
  groups?: readonly OptionGroup<T>[];
  select: (value: T) => void;
}

export function Select<T extends string>({ name, value, options, groups = [], select }: SelectProps<T>) {
  const elements = (listed: readonly Option<T>[]) =>
    listed.map(([option, title]) => (
      <option key={option} value={option} selected={option === value}>
        {title}
      </option>
    ));
  return (
    <select aria-label={name} value={value} onChange={(event) => select(event.currentTarget.value as T)}>
      {elements(options)}
      {groups.map(([title, listed]) => (
        <optgroup key={title} label={title}>
          {elements(listed)}
        </optgroup>
      ))}
    </select>
  );
}
