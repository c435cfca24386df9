// Signals apart from bars, and the strongest features first.
import { expect, it } from "vitest";
import { TabularMap } from "../../src/maps/TabularMap";
import { floatPage, method, row, show, tabularInput, texts, valuesMap } from "../render";

const part = (name: string, ...shape: number[]) => ({ name, shape, axes: [] });

it("draws signals along positions and other features as bars", () => {
  const values = [0.5, ...new Array<number>(30).fill(0), -3, 2];
  const input = tabularInput({
    inputs: [part("age"), part("ecg", 30), part("fee", 2)],
    values: values.map((_, i) => i),
    texts: [...new Array<null>(32).fill(null), "monthly"],
  });
  const map = valuesMap(33);
  const page = floatPage({ modality: "tabular", rows: [row({ input, maps: [map] })] }, values);
  const within = show(<TabularMap page={page} row={0} column={0} map={map} method={method()} input={input} />);
  expect(texts(within.querySelectorAll(".TabularMap_signalName"))).toEqual(["ecg"]);
  expect(texts(within.querySelectorAll(".TabularMap_name"))).toEqual(["fee[0] = 31", "fee[1] = monthly", "age = 0"]);
  expect(texts(within.querySelectorAll(".TabularMap_value"))).toEqual(["−3.00", "+2.00", "+0.500"]);
  expect([...within.querySelectorAll(".TabularMap_row")].map((bar) => bar.getAttribute("title"))).toEqual([
    "fee[0] = 31",
    "fee[1] = monthly",
    "age = 0",
  ]);
});

it("puts values that the method cannot explain last", () => {
  const input = tabularInput({ inputs: [part("flag", 2), part("age"), part("fee")], values: [1, 0, 30, 5] });
  const map = valuesMap(4);
  const page = floatPage({ modality: "tabular", rows: [row({ input, maps: [map] })] }, [NaN, NaN, -1, 2]);
  const within = show(<TabularMap page={page} row={0} column={0} map={map} method={method()} input={input} />);
  expect(texts(within.querySelectorAll(".TabularMap_value"))).toEqual(["+2.00", "−1.00", "NaN", "NaN"]);
});
