// How the page is built: one small entry that TensorBoard imports, and hashed files that browsers may keep.
import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
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
});
