// Who asks, as octroi asserts it: an Express middleware over jose.
import { createRemoteJWKSet, errors, jwtVerify } from "jose";

// keys: the URL of octroi's keys. audience: whom the assertion must be for. issuer: who must have made it.
export function octroi({ keys, audience, issuer = "octroi" }) {
  // The keys are kept for ten minutes. One that is not among them makes jose ask again, at most every 30 seconds.
  const known = createRemoteJWKSet(new URL(keys), { cacheMaxAge: 600_000, cooldownDuration: 30_000, timeoutDuration: 3_000 });
  const rules = {
    algorithms: ["EdDSA"], // fixed here: the assertion does not choose
    typ: "octroi-assertion+jwt", // no other token that the same key might sign
    audience,
    issuer,
    maxTokenAge: 60, // seconds; without this, jose does not ask when it was signed
    clockTolerance: 5, // seconds that the two clocks may differ
    requiredClaims: ["sub", "tenant", "realm", "roles", "sid", "jti", "iat", "exp"],
  };

  return async (request, response, next) => {
    const assertion = request.get("Octroi-Assertion");
    if (!assertion) return response.status(401).json({ error: "no assertion" });
    try {
      const { payload } = await jwtVerify(assertion, known, rules);
      // Two tenants may have users of the same name: a user is the pair.
      request.octroi = { tenant: payload.tenant, user: payload.sub, roles: payload.roles, session: payload.sid, request: payload.jti };
    } catch (error) {
      // What jose refuses is the assertion's fault; that the keys cannot be fetched is ours.
      const ours = !(error instanceof errors.JOSEError) || error instanceof errors.JWKSTimeout || error.code === "ERR_JOSE_GENERIC";
      console.error(`assertion refused: ${error.code ?? error.message}`);
      return response.status(ours ? 503 : 401).json({ error: ours ? "keys not available" : "assertion refused" });
    }
    next();
  };
}
