// The tooltip, next to the pointer and inside the window.
import { useLayoutEffect, useRef } from "preact/hooks";
import { hover } from "../state/interaction";
import styles from "./Tooltip.module.css";

const MARGIN = 4;

export function Tooltip() {
  const shown = hover.value;
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (!shown || !box.current) return;
    const { width, height } = box.current.getBoundingClientRect();
    const left = shown.x + 14 + width > innerWidth ? shown.x - 14 - width : shown.x + 14;
    const top = shown.y + 18 + height > innerHeight ? shown.y - 12 - height : shown.y + 18;
    box.current.style.transform = `translate(${Math.max(MARGIN, left)}px, ${Math.max(MARGIN, top)}px)`;
  });
  if (!shown) return null;
  return (
    <div class={styles.tooltip} ref={box} role="presentation">
      <div class={styles.value}>{shown.value}</div>
      {shown.lines.map((line) => (
        <div key={line}>{line}</div>
      ))}
    </div>
  );
}
