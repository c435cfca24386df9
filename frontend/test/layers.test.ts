// Imports go one way, as the table in README.md says; and the classes of CSS modules are those that components use.
import { describe, expect, it } from "vitest";
import readme from "../README.md?raw";

const texts = import.meta.glob<string>("../src/**/*.{ts,tsx,css}", { query: "?raw", import: "default", eager: true });
const SOURCES = Object.entries(texts).map(([path, text]) => ({ path: path.replace("../src/", ""), text }));

/** From the table: the folders that each folder may import. */
const LAYERS = new Map(
  [...readme.matchAll(/^\| `(\w+)` \|.*\|(.*)\|$/gm)].map((row) => [
    row[1]!,
    [...row[2]!.matchAll(/`(\w+)`/g)].map((name) => name[1]!),
  ]),
);

/** The path of an import, below src/. */
const resolve = (importer: string, path: string): string => new URL(path, `file:///${importer}`).pathname.slice(1);
const folderOf = (path: string): string => path.split("/")[0]!;
const inFolders = SOURCES.filter(({ path }) => path.includes("/"));

describe("folders", () => {
  it("are those of the table", () => {
    expect([...LAYERS.keys()].sort()).toEqual([...new Set(inFolders.map(({ path }) => folderOf(path)))].sort());
  });
  it.each(inFolders.filter(({ path }) => !path.endsWith(".css")))("$path imports lower ones", ({ path, text }) => {
    const imported = [...text.matchAll(/(?:from|import) "(\.[^"]+)"/g)].map((match) => resolve(path, match[1]!));
    const others = imported.map(folderOf).filter((folder) => folder !== folderOf(path));
    expect(others.filter((folder) => !LAYERS.get(folderOf(path))!.includes(folder))).toEqual([]);
  });
  it("do not import each other in circles", () => {
    const order = [...LAYERS.keys()];
    for (const [folder, lower] of LAYERS)
      for (const name of lower) expect(order.indexOf(name)).toBeLessThan(order.indexOf(folder));
  });
});

describe("classes", () => {
  const modules = SOURCES.filter(({ path }) => path.endsWith(".module.css"));
  it("have the name of their component before them, once", () => {
    const names = modules.map(({ path }) => path.split("/").at(-1));
    expect(new Set(names).size).toBe(names.length);
  });
  it.each(modules)("of $path are all used, and no others are", ({ path, text }) => {
    const rules = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/:global\([^)]*\)/g, "");
    const selectors = rules.replace(/\{[^}]*\}/g, " ");
    const defined = new Set([...selectors.matchAll(/\.([a-zA-Z]\w*)/g)].map((match) => match[1]!));
    const used = new Set<string>();
    for (const { path: importer, text: code } of SOURCES) {
      for (const [, name, from] of code.matchAll(/import (\w+) from "(\.[^"]+\.module\.css)"/g)) {
        if (resolve(importer, from!) !== path) continue;
        for (const [, className] of code.matchAll(new RegExp(`\\b${name}\\.(\\w+)`, "g"))) used.add(className!);
      }
    }
    expect([...used].sort()).toEqual([...defined].sort());
  });
});
