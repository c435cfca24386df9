// A cell without a map says why.
import { expect, it } from "vitest";
import { placeholderOf } from "../../src/maps/Placeholder";
import { pictureMap, show, valuesMap } from "../render";

it.each([
  ["—", "not computed", null],
  ["cannot be read", "its shard is damaged", { ...pictureMap(), error: "its shard is damaged" } as never],
  ["all zero", null, pictureMap({ zero: true })],
  ["NaN", "no value is a number; the warnings of the map say why", pictureMap({ not_finite: 4, scale: 0 })],
  ["NaN", "no value is a number; the warnings of the map say why", valuesMap(3, { not_finite: 3, scale: 0 })],
])("shows %s", (text, title, map) => {
  const placeholder = show(placeholderOf(map, 64)).firstElementChild as HTMLElement;
  expect(placeholder.textContent).toBe(text);
  expect(placeholder.getAttribute("title")).toBe(title);
  expect(placeholder.style.width).toBe("64px");
});

it("is not shown if any value is finite", () => {
  expect(placeholderOf(pictureMap({ not_finite: 3 }), 64)).toBeNull();
  expect(placeholderOf(pictureMap({ not_finite: 3, scale: 0 }), 64)).toBeNull();
});
