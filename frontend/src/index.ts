// What TensorBoard imports. It is never cached, so it holds nothing but the import of the hashed files.
export async function render(): Promise<void> {
  const { start } = await import("./app");
  start();
}
