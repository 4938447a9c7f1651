import js from "@eslint/js";

const browser = ["Blob", "Bokeh", "createImageBitmap", "document", "devicePixelRatio", "Event", "getComputedStyle", "HTMLElement",
  "HTMLCanvasElement", "HTMLInputElement", "HTMLSelectElement", "HTMLDetailsElement", "ImageData", "requestAnimationFrame", "ResizeObserver",
  "setTimeout", "clearTimeout", "atob", "window"];

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
