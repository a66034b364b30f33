"""The page of documentation: it renders /openapi.json, and needs nothing from elsewhere."""

DOCUMENTATION_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Towline API</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
summary { cursor: pointer; padding: .4rem; background: #f2f4f7; border-radius: 6px }
details { margin: .5rem 0 }
code, pre { font: 14px/1.4 ui-monospace, monospace }
pre { background: #f2f4f7; padding: 1rem; border-radius: 6px; overflow-x: auto }
td, th { text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top }
.method { display: inline-block; min-width: 4rem; font-weight: 700 }
</style>
<h1>Towline API</h1>
<p id="about"></p>
<p><a href="openapi.json">openapi.json</a></p>
<main id="paths"></main>
<script>
const make = (tag, text, ...children) => {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
};
const schemaOf = (content, all) => {
  const reference = content?.["application/json"]?.schema?.$ref;
  return reference ? all[reference.split("/").pop()] : null;
};
fetch("openapi.json").then(answer => answer.json()).then(api => {
  const schemas = api.components.schemas;
  document.getElementById("about").textContent = `${api.info.description} Version ${api.info.version}.`;
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, entry] of Object.entries(methods)) {
      const title = make("summary");
      const name = make("span", method.toUpperCase());
      name.className = "method";
      title.append(name, make("code", path), make("span", " " + entry.summary));
      const box = make("details", "", title, make("pre", entry.description || ""));
      const rows = make("table");
      for (const item of entry.parameters || [])
        rows.append(make("tr", "", make("th", item.name), make("td", item.in),
          make("td", item.description || JSON.stringify(item.schema))));
      box.append(rows);
      const body = schemaOf(entry.requestBody?.content, schemas);
      if (body) box.append(make("h4", "Body"), make("pre", JSON.stringify(body, null, 2)));
      for (const [code, response] of Object.entries(entry.responses)) {
        const shape = schemaOf(response.content, schemas);
        box.append(make("h4", `${code}: ${response.description}`));
        if (shape && code < 300) box.append(make("pre", JSON.stringify(shape, null, 2)));
      }
      document.getElementById("paths").append(box);
    }
});
</script>
</html>
"""
