// An example in the drawer, or one input of an example with several.
import type { Page } from "../api/pageOfMaps";
import type { ExactMap } from "../api/requests";
import type { Row } from "../api/types";

export interface ShownPart {
  /** Of this input alone. */
  page: Page;
  /** Of the row within the page. */
  index: number;
  row: Row;
  /** By column; null where there is none, or not yet. */
  exactMaps: readonly (ExactMap | null)[];
  clips: number[];
}
