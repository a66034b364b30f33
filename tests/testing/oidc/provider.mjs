// An identity provider: node provider.mjs CONFIGURATION. Clients get tokens of their own, which
// name the groups that the configuration gives them.

import { readFileSync } from "node:fs";

import Provider from "oidc-provider";

const { port, jwks, groups, algorithm } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const issuer = `http://127.0.0.1:${port}`;
const clients = Object.keys(groups).map((client_id) => ({
  client_id,
  client_secret: `secret of ${client_id}`,
  grant_types: ["client_credentials"],
  id_token_signed_response_alg: algorithm,
  redirect_uris: [],
  response_types: [],
  token_endpoint_auth_method: "client_secret_post",
}));

const provider = new Provider(issuer, {
  clients,
  jwks,
  ttl: { ClientCredentials: 600 },
  extraTokenClaims: (_, token) => ({ groups: groups[token.clientId] }),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => "urn:towline",
      getResourceServerInfo: (_, resource) => ({
        audience: resource,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: algorithm } },
        scope: "",
      }),
    },
  },
});
provider.listen(port, "127.0.0.1", () => console.log(`ready at ${issuer}`));
