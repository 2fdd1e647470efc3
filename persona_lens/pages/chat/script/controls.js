// The settings beside the conversation: who speaks, which plan, how replies are drawn.

import { byId, element, fill } from "../../shared/dom.js";
import { parsedLayers, spanned } from "./requests.js";

const option = (value, text) => element("option", { value, textContent: text });

export function fillControls(card, roles) {
  const { plans, allowed, limits } = card;
  const named = plans.map((plan, index) => option(`${index}`, described(plan)));
  if (allowed.percentiles) named.push(option("cap", "cap at a percentile"));
  fill(byId("plan"), ...named);
  byId("plan").value = allowed.percentiles && card.cap !== null ? "cap" : `${plans.findIndex((plan) => plan.name === "default")}`;
  if (allowed.percentiles) {
    const [least, most] = allowed.percentiles;
    Object.assign(byId("percentile"), { min: least, max: most, value: card.cap ?? Math.min(Math.max(75, least), most) });
  }
  const acting = plans.find((plan) => plan.layers.length);
  byId("layers").placeholder = acting ? `${spanned(acting.layers)}, its own` : "its own";
  byId("layers-field").hidden = !allowed.layers;
  byId("first-group").hidden = !card.other;
  fill(byId("first"), option("", `${card.name}, as it is`), ...(card.other ? [option("other", card.other)] : []));
  byId("first-note").textContent = `What another server writes is read by ${card.name} with nothing acting: projections of it are`
    + " clean re-readings, whichever reading is chosen.";
  Object.assign(byId("length"), { max: limits.reply_tokens, value: Math.min(limits.default_tokens, 200) });
  fill(byId("role"), option("", "None"), ...roles.map(({ name }, index) => option(`${index}`, name.replace(/_/g, " "))));
  byId("role").addEventListener("change", () => takeRole(roles));
  byId("prompt").addEventListener("change", () => takePrompt(roles));
  byId("plan").addEventListener("change", showPlan);
  showPlan();
}

const described = ({ name, layers }) =>
  layers.length ? `${name} (layers ${spanned(layers)})` : name === "none" ? "none" : `${name} (does nothing)`;

function takeRole(roles) {
  const role = roles[byId("role").value];
  byId("prompt-field").hidden = !role;
  fill(byId("prompt"), ...(role?.prompts ?? []).map((text, index) => option(`${index}`, `prompt ${index + 1}`)));
  byId("system").value = role ? role.prompts[0] : "";
  byId("system").dispatchEvent(new Event("input"));
}

function takePrompt(roles) {
  byId("system").value = roles[byId("role").value].prompts[byId("prompt").value];
  byId("system").dispatchEvent(new Event("input"));
}

export function showPlan() {
  byId("percentile-field").hidden = byId("plan").value !== "cap";
}

const within = (id, low, high, what) => {
  const value = byId(id).valueAsNumber;
  if (!Number.isFinite(value) || value < low || value > high) throw new Error(`${what} is a number from ${low} to ${high}.`);
  return value;
};

// What the next turn is asked with; raises what to tell whoever set it. Both lanes share the seed.
export function settingsNow(card) {
  const { plans, allowed, limits } = card;
  const chosen = byId("plan").value;
  const capped = chosen === "cap";
  const plan = capped ? "default" : plans[chosen].name;
  const percentile = capped ? within("percentile", ...allowed.percentiles, "The percentile") : null;
  const acts = capped || plans[chosen].layers.length > 0;
  const layers = acts && allowed.layers ? parsedLayers(byId("layers").value, allowed.layers) : null;
  const temperature = within("temperature", 0, 2, "The temperature");
  const length = within("length", 1, limits.reply_tokens, "The length of a reply");
  const typed = byId("seed").value.trim();
  const seed = typed ? within("seed", 0, 2 ** 31 - 1, "The seed") : crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
  const where = layers ? ` at layers ${spanned(layers)}` : "";
  const label = `${capped ? `the cap at percentile ${percentile}` : acts ? `plan ${plan}` : `no plan (${plan})`}${where}`;
  return { plan, percentile, layers, label, temperature, length, seed, clean: byId("clean").checked, other: byId("first").value ? card.other : null };
}
