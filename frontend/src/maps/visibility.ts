// Which elements are in view, or nearly.
import { batch, type Signal, signal } from "@preact/signals";

const MARGIN = "400px";

const signals = new Map<Element, Signal<boolean>>();
const observer = new IntersectionObserver(
  (entries) =>
    batch(() => {
      for (const { target, isIntersecting } of entries) {
        const visible = signals.get(target);
        if (visible) visible.value = isIntersecting;
      }
    }),
  { rootMargin: MARGIN },
);

/** Whether an element is in view; true until that is known. */
export function visibility(element: Element): { visible: Signal<boolean>; unobserve: () => void } {
  const visible = signal(true);
  signals.set(element, visible);
  observer.observe(element);
  const unobserve = (): void => {
    observer.unobserve(element);
    signals.delete(element);
  };
  return { visible, unobserve };
}
