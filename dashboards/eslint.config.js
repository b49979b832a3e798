import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: ["built/", "node_modules/", "vendor/"] },
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2025, sourceType: "module", globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-var": "error",
      "prefer-const": "error",
      "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      "max-lines": ["error", { max: 450, skipComments: true }],
      "max-lines-per-function": ["error", { max: 60, skipComments: true }],
      // Untrusted text becomes text, never markup.
      "no-restricted-properties": ["error",
        { property: "innerHTML", message: "Use element() of shared/dom.js." },
        { property: "outerHTML", message: "Use element() of shared/dom.js." },
        { property: "insertAdjacentHTML", message: "Use element() of shared/dom.js." },
        { object: "document", property: "write", message: "Use element() of shared/dom.js." },
      ],
    },
  },
  { files: ["build.js", "eslint.config.js", "tests/**"], languageOptions: { globals: globals.node } },
  // A report and an atlas ask nothing of any network; the tab asks TensorBoard alone.
  { files: ["**/*.js"], ignores: ["page/tab.js"], rules: { "no-restricted-globals": ["error", "fetch", "XMLHttpRequest", "WebSocket", "EventSource"] } },
];
