import js from "@eslint/js";

const browser = ["atob", "Blob", "clearTimeout", "createImageBitmap", "document", "getComputedStyle",
  "HTMLCanvasElement", "HTMLDetailsElement", "HTMLElement", "HTMLInputElement", "HTMLSelectElement", "ImageData",
  "requestAnimationFrame", "ResizeObserver", "setTimeout", "window"];

export default [
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2022, sourceType: "module" },
    rules: {
      "eqeqeq": "error",
      "no-shadow": "error",
      "no-unused-vars": ["error", { argsIgnorePattern: "^_$" }],
      "no-useless-assignment": "error",
      "no-var": "error",
      "prefer-const": "error",
    },
  },
  { files: ["monai_sf/**"], languageOptions: { globals: Object.fromEntries(browser.map((name) => [name, "readonly"])) } },
];
