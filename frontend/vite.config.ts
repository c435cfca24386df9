// How the page is built and tested: one small entry that TensorBoard imports, and hashed files that browsers may cache.
import { basename } from "node:path";
import { defineConfig } from "vitest/config";

export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  css: {
    modules: {
      // Readable: the class `head` of Drawer.module.css is `Drawer_head`.
      generateScopedName: (name, path) => `${basename(path).split(".")[0]}_${name}`,
    },
  },
  build: {
    outDir: "../tb_deepexplain/plugin/static",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // TensorBoard's policy refuses scripts and workers from data: addresses
    modulePreload: false,
    rollupOptions: {
      input: "src/index.ts",
      preserveEntrySignatures: "strict", // the host calls the exported render()
      output: {
        entryFileNames: "index.js",
        chunkFileNames: "assets/[name]-[hash].js",
        assetFileNames: "assets/[name]-[hash][extname]",
      },
    },
  },
  test: {
    css: { include: /./, modules: { classNameStrategy: "scoped" } },
    projects: [
      { extends: true, test: { name: "functions", include: ["test/**/*.test.ts"], environment: "node" } },
      { extends: true, test: { name: "components", include: ["test/**/*.test.tsx"], environment: "happy-dom" } },
    ],
  },
});
