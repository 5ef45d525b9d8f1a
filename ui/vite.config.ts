/** Builds the pages into the Python package, each file also compressed, since the server never compresses. */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";

import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const SHRINKS = /\.(?:js|css)$/;
const WORTH_IT_BYTES = 512;

function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    async writeBundle(options, bundle) {
      const folder = options.dir ?? ".";
      const names = Object.keys(bundle).filter((name) => SHRINKS.test(name));
      await Promise.all(
        names.map(async (name) => {
          const content = await readFile(join(folder, name));
          if (content.length < WORTH_IT_BYTES) return;
          const params = { [constants.BROTLI_PARAM_SIZE_HINT]: content.length };
          const [br, gz] = await Promise.all([
            promisify(brotliCompress)(content, { params }),
            promisify(gzip)(content, { level: 9 }),
          ]);
          await writeFile(join(folder, `${name}.br`), br);
          await writeFile(join(folder, `${name}.gz`), gz);
        }),
      );
    },
  };
}

const H264_CHECK = "supportsWebCodecsH264Decode = await _checkWebCodecsH264DecodeSupport();";

/** noVNC waits for news of a decoder before it loads. Our screens do not use it, and a module that waits at its top is kept apart from all others. */
function withoutH264(): Plugin {
  return {
    name: "without-h264",
    transform(code, id) {
      if (!id.endsWith("@novnc/novnc/core/util/browser.js")) return undefined;
      if (!code.includes(H264_CHECK)) this.error("noVNC does not look for H.264 as it did: see vite.config.ts");
      return { code: code.replace(H264_CHECK, ""), map: null };
    },
  };
}

export default defineConfig({
  plugins: [react(), withoutH264(), compressed()],
  experimental: {
    // Files find each other wherever the whole folder stands; the page itself is served at many addresses.
    renderBuiltUrl: (name, { hostType }) => (hostType === "html" ? `/${name}` : { relative: true }),
  },
  build: {
    outDir: "../src/hud/platform/ui",
    emptyOutDir: true,
    target: "es2023",
    // Nothing may stand inside a page: its content policy refuses data of its own for fonts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  test: { environment: "node", include: ["src/**/*.test.{ts,tsx}"] },
});
