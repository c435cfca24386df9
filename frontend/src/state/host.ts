// The window that holds the page: TensorBoard's if the page is framed, else the page's.
import { signal } from "@preact/signals";

export type Theme = "light" | "dark";

const host: Window = ((): Window => {
  try {
    return window.parent.document ? window.parent : window;
  } catch {
    return window; // framed by another origin, whose address and theme cannot be read
  }
})();
const framed = host !== window;

export const hostHash = (): string => host.location.hash;

/** The address that shows the present view. */
export const hostLink = (): string => host.location.href;

/** Replace the hash of the host, in a new or in the present entry of its history. */
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

const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");

function hostTheme(): Theme {
  const dark = framed ? host.document.body.classList.contains("dark-mode") : prefersDark.matches;
  return dark ? "dark" : "light";
}

export const theme = signal<Theme>(hostTheme());

export function watchTheme(): void {
  const apply = (): void => {
    theme.value = hostTheme();
    document.documentElement.dataset.theme = theme.value;
  };
  apply();
  if (framed) {
    const observer = new MutationObserver(apply);
    observer.observe(host.document.body, { attributeFilter: ["class"] });
    window.addEventListener("pagehide", () => observer.disconnect());
  } else prefersDark.addEventListener("change", apply);
}

/** Call `reloaded` after TensorBoard has reloaded its data, which it announces in messages to the frames of plugins. */
export function onDataReloaded(reloaded: () => void): void {
  if (!framed) return;
  let missed = false; // TensorBoard keeps the frame of a tab that is not shown, without height
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
