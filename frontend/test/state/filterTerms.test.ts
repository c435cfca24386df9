// The filter as text.
import { describe, expect, it } from "vitest";
import { fieldText, isOn, quote, sliceTerm, terms, withoutTerm } from "../../src/state/filterTerms";

describe("filter", () => {
  it("is cut at blanks outside quotation marks", () => {
    expect(terms('label:cat  text:"not \\"so\\" bad" -x:"a b",c')).toEqual([
      "label:cat",
      'text:"not \\"so\\" bad"',
      '-x:"a b",c',
    ]);
    expect(terms('text:"open end')).toEqual(['text:"open end']);
    expect(terms("")).toEqual([]);
  });
  it("loses one term and keeps the others", () => expect(withoutTerm('a b:"c d" e', 1)).toBe("a e"));
  it("quotes fields with other characters than letters, digits and dots", () => {
    expect(["plan", "slice.label", "Größe", "plan type", "plan-type", "2nd"].map(fieldText)).toEqual([
      "plan",
      "slice.label",
      "Größe",
      '"plan type"',
      '"plan-type"',
      '"2nd"',
    ]);
    expect([sliceTerm("plan type", "a b"), sliceTerm("age", 0.5)]).toEqual(['"plan type":"a b"', "age:0.5"]);
  });
  it("knows the field of a term", () => {
    expect([isOn("-plan:x", "plan"), isOn('"plan type":x', "plan type"), isOn("age>3", "age")]).toEqual([
      true,
      true,
      true,
    ]);
    expect([isOn("plans:x", "plan"), isOn("plan", "plan"), isOn("slice.plan:x", "plan")]).toEqual([
      false,
      false,
      false,
    ]);
  });
  it("quotes what needs it", () => {
    expect([quote("cat"), quote("tabby cat"), quote('a"b'), quote("a*"), quote("!x")]).toEqual([
      "cat",
      '"tabby cat"',
      '"a\\"b"',
      '"a*"',
      '"!x"',
    ]);
  });
});
