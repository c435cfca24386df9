// The filter as text.
import { describe, expect, it } from "vitest";
import { quote, terms, withoutTerm } from "../../src/state/filterTerms";

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
