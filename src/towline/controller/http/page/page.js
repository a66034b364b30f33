"use strict";

// Swagger UI leaves it to its page whether it is dark.
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();

// Shows the x-codeSamples of an operation above its parameters.
const Samples = ({ React: { createElement } }) => ({
  wrapComponents: {
    parameters: (Parameters) => (properties) => {
      const Code = properties.getComponent("HighlightCode", true);
      const samples = properties.operation.get("x-codeSamples") ?? [];
      return createElement(
        "div",
        null,
        ...samples.map((sample) =>
          createElement(
            "div",
            { className: "sample" },
            createElement(Code, { language: "bash" }, sample.get("source")),
          ),
        ),
        createElement(Parameters, properties),
      );
    },
  },
});

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  plugins: [Samples],
  deepLinking: true,
  filter: true,
  displayOperationId: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  // All that is sent goes to the controller.
  validatorUrl: null,
});
