// What TensorBoard imports: it is never cached, so it holds nothing but the way to the hashed files.
export async function render(): Promise<void> {
  const { start } = await import("./app");
  start();
}
