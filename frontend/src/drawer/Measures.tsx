// The measures of this example's maps that have a curve, such as deletion and insertion.
import type { Column, ExampleFacts } from "../api/types";
import { type Curve, LineChart } from "../charts/LineChart";
import { chanceSeries, series } from "../charts/series";
import { theme } from "../state/host";

export function Measures({ facts, columns, id }: { facts: ExampleFacts; columns: readonly Column[]; id: string }) {
  const measures = facts.measures ?? [];
  const curved = measures.filter(({ id, axis }) => axis && columns.some(({ key }) => facts.curves[key]?.[id]));
  if (curved.length === 0)
    return (
      <p class="note">
        {measures.length > 0
          ? "This example was not among those measured."
          : "No measure of this map was taken: nothing here says how far it can be believed."}
      </p>
    );
  return (
    <section>
      <h3>How far they can be believed</h3>
      <div class="charts">
        {curved.map((measure) => {
          const curves = columns.flatMap(({ key, title }, m) => {
            const curve = facts.curves[key]?.[measure.id];
            return curve ? [{ ...curve, title, m }] : [];
          });
          const { at, random_curve } = curves[0]!;
          const shown: Curve[] = curves.map(({ curve, title, m }) => ({
            name: title,
            mean: curve,
            ...series(m, theme.value),
          }));
          if (random_curve.length > 0)
            shown.push({ name: "a random map", mean: random_curve, ...chanceSeries(theme.value) });
          const title = `${measure.title} of example ${id}`;
          return (
            <figure key={measure.id}>
              <figcaption>{measure.title}</figcaption>
              <LineChart title={title} axis={measure.axis!} at={at.map((v) => v ?? 0)} curves={shown} bold={null} />
            </figure>
          );
        })}
      </div>
    </section>
  );
}
