import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// Built into the package: users need no Node. Names without a hash of the build's machine, paths relative to the page.
export default defineConfig({
  plugins: [svelte()],
  base: "./",
  build: { outDir: "../einthoven/serve/static", emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { proxy: { "/api": "http://127.0.0.1:8010", "/login": "http://127.0.0.1:8010" } },
});
