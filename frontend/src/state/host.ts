// The page around us: TensorBoard when framed, ourselves when opened alone.
import { signal } from "@preact/signals";
import type { Theme } from "../maps/colour";

const host: Window = ((): Window => {
  try {
    return window.parent.document ? window.parent : window;
  } catch {
    return window; // another origin frames us: its address and theme are not ours to read
  }
})();
const framed = host !== window;

export const hostHash = (): string => host.location.hash;

/** Replace the host's hash, as a new entry of its history or in place of the present one. */
export function setHostHash(hash: string, push: boolean): void {
  const url = host.location.pathname + host.location.search + hash;
  if (push) host.history.pushState(host.history.state, "", url);
  else host.history.replaceState(host.history.state, "", url);
}

export function onHostHash(changed: () => void): void {
  host.addEventListener("popstate", changed);
  host.addEventListener("hashchange", changed);
  window.addEventListener("pagehide", () => {
    host.removeEventListener("popstate", changed);
    host.removeEventListener("hashchange", changed);
  });
}

const preferred = window.matchMedia("(prefers-color-scheme: dark)");
const present = (): Theme =>
  (framed ? host.document.body.classList.contains("dark-mode") : preferred.matches) ? "dark" : "light";

export const theme = signal<Theme>(present());

export function watchTheme(): void {
  const apply = (): void => {
    theme.value = present();
    document.documentElement.dataset["theme"] = theme.value;
  };
  apply();
  if (framed) {
    const observer = new MutationObserver(apply);
    observer.observe(host.document.body, { attributeFilter: ["class"] });
    window.addEventListener("pagehide", () => observer.disconnect());
  } else preferred.addEventListener("change", apply);
}

/** The address that shows what is shown now. */
export const hostLink = (): string => host.location.href;

/** Hear when TensorBoard has read its data again, by the messages it exchanges with the frames of plugins. */
export function onDataReloaded(reloaded: () => void): void {
  if (!framed) return;
  let missed = false; // of a tab that is not shown, whose frame TensorBoard keeps without height
  window.addEventListener("resize", () => {
    if (!missed || window.innerHeight === 0) return;
    missed = false;
    reloaded();
  });
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = (event: MessageEvent<string>): void => {
    const { type, id, isReply } = JSON.parse(event.data) as { type: string; id: number; isReply: boolean };
    if (isReply) return;
    port1.postMessage(JSON.stringify({ type, id, payload: null, error: null, isReply: true }));
    if (type !== "experimental.DataReloaded") return;
    if (window.innerHeight === 0) missed = true;
    else reloaded();
  };
  host.postMessage("experimental.bootstrap", "*", [port2]);
}
