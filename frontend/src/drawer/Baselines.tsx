// The baselines that f(baseline) is the score of: each one once, with its methods.
import type { Column, ExampleFacts, Input } from "../api/types";
import { short } from "../format/numbers";
import { inputRanges } from "../maps/inputParts";
import placeholderStyles from "../maps/Placeholder.module.css";
import styles from "./Baselines.module.css";

interface Baseline {
  value: unknown;
  /** A small PNG as base64, of a baseline that is a picture. */
  picture: string | undefined;
  methods: string[];
}

/** The different baselines of the methods in the columns. */
export function baselinesOf(facts: ExampleFacts, columns: readonly Column[]): Baseline[] {
  const shown = new Set(columns.map((column) => column.method.id));
  const baselines = new Map<string, Baseline>();
  for (const { id, title, baseline: ofMethod, baseline_picture } of facts.methods) {
    if (!shown.has(id) || ofMethod === undefined) continue;
    const value = ofMethod ?? 0;
    const key = JSON.stringify(value);
    const baseline = baselines.get(key) ?? { value, picture: baseline_picture, methods: [] };
    baselines.set(key, baseline);
    baseline.methods.push(title);
  }
  return [...baselines.values()];
}

interface ShownInput {
  name: string;
  modality: "image" | "text" | "number" | "category";
}

/** The inputs that are explained; a category is a text that the model encodes. */
function inputsOf(input: Input): ShownInput[] {
  switch (input.modality) {
    case "image":
    case "text":
      return [{ name: "", modality: input.modality }];
    case "tabular":
      return inputRanges(input.inputs).map(({ name, start, size }) => {
        const isCategory = input.values
          .slice(start, start + size)
          .some((v, i) => v === null && input.texts?.[start + i]);
        return { name, modality: isCategory ? "category" : "number" };
      });
    case "mixed":
      return input.parts.flatMap(({ name, input: part }) => inputsOf(part).map((one) => ({ ...one, name })));
    default:
      return [];
  }
}

const isByName = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A baseline in words for each input: one value for all, or a list or object with one for each. */
function byInput(value: unknown, inputs: readonly ShownInput[]): string[] {
  return inputs.map(({ name, modality }, i) => {
    const isList = Array.isArray(value) && inputs.length > 1 && value.length === inputs.length;
    return ofInput((isByName(value) ? value[name] : isList ? value[i] : value) ?? 0, modality);
  });
}

function ofInput(value: unknown, modality: ShownInput["modality"]): string {
  const array = typeof value === "string" ? /^array (\[.*\])/.exec(value) : null;
  if (array) return `an array of ${(JSON.parse(array[1]!) as number[]).join(" × ")}`;
  if (Array.isArray(value) && value.length === 1) return ofInput(value[0] ?? 0, modality);
  if (typeof value !== "number") return JSON.stringify(value);
  if (modality === "text") return `embeddings of ${value === 0 ? "zeros" : value}`;
  return modality === "category" ? '""' : String(value); // a number means nothing to a text: it is missing
}

function describe({ value, picture }: Baseline, input: Input): string {
  if (picture) return "an array, as the model takes it";
  const inputs = inputsOf(input);
  const texts = byInput(value, inputs);
  const [text, ...others] = [...new Set(texts)];
  if (text === undefined) return `${JSON.stringify(value)}, as the model takes it`;
  if (others.length > 0)
    return [text, ...others]
      .map((one) => `${one} in ${inputs.flatMap(({ name }, i) => (texts[i] === one ? [name] : [])).join(", ")}`)
      .join("; ");
  if (inputs.every(({ modality }) => modality === "text")) return `${text} in place of all tokens`;
  return /^\S+$/.test(text) ? `${text} everywhere, as the model takes it` : `${text}, as the model takes it`;
}

export function Baselines(props: { facts: ExampleFacts; columns: readonly Column[]; input: Input }) {
  const { facts, columns, input } = props;
  const baselines = baselinesOf(facts, columns);
  if (baselines.length === 0) return null;
  return (
    <section class={styles.baselines}>
      <h3>{baselines.length > 1 ? "Baselines" : "Baseline"}</h3>
      {baselines.map((baseline) => (
        <figure key={baseline.methods[0]}>
          {baseline.picture ? (
            <img class={styles.picture} src={`data:image/png;base64,${baseline.picture}`} alt="baseline" />
          ) : (
            input.modality === "image" && (
              <div class={`${placeholderStyles.placeholder} ${styles.picture}`}>
                <span>{short(Number(baseline.value))}</span>
              </div>
            )
          )}
          <figcaption>
            {describe(baseline, input)}
            <span class="note"> {baseline.methods.join(", ")}</span>
          </figcaption>
        </figure>
      ))}
    </section>
  );
}
