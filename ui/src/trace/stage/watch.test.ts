import { expect, it } from "vitest";

import { meaning } from "./watch";

it("ends for good when the run is over or the viewer may not look", () => {
  expect(meaning(4410, "the rollout is over").state).toBe("ended");
  expect(meaning(1008, "this viewer may not look any more")).toEqual({
    state: "ended",
    says: "This page may not look any more: this viewer may not look any more. Load it again.",
  });
});

it("says why a screen is lost, and that it is when nobody says why", () => {
  expect(meaning(4404, "desktop 'screen' does not answer")).toEqual({
    state: "lost",
    says: "The screen is not to be seen just now: desktop 'screen' does not answer.",
  });
  expect(meaning(1006, "")).toEqual({ state: "lost", says: "The connection to the screen is lost." });
});
