// What went wrong, as it is shown, and how to try again.
import { signal } from "@preact/signals";
import { RequestFailed } from "../api/requests";

export interface Failure {
  sentence: string;
  route: string;
  status: number | null;
}

export function failureOf(error: unknown): Failure {
  if (error instanceof RequestFailed) return { sentence: error.message, route: error.route, status: error.status };
  return { sentence: String(error), route: "page", status: null };
}

/** Rises with every retry; loaders read it to run again. */
export const retries = signal(0);
