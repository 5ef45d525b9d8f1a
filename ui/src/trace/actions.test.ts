import { expect, test } from "vitest";

import { actsOf } from "./actions";

test("one click is the same click in every dialect", () => {
  const at = { x: 12, y: 34 };
  expect(actsOf("computer", { action: "left_click", coordinate: [12, 34] })?.acts[0]).toMatchObject({ kind: "click", at, button: "left", times: 1 });
  expect(actsOf("computer", { actions: [{ type: "click", button: "left", x: 12, y: 34 }] })?.acts[0]).toMatchObject({ kind: "click", at });
  expect(actsOf("click_at", at)).toMatchObject({ unit: "thousandth", acts: [{ kind: "click", at }] });
});

test("typing where one clicks is both", () => {
  const acts = actsOf("type_text_at", { x: 1, y: 2, text: "Ada", press_enter: true })?.acts;
  expect(acts?.map((act) => act.kind)).toEqual(["click", "type", "key"]);
  expect(acts?.[1]).toMatchObject({ text: "Ada", at: { x: 1, y: 2 } });
});

test("a drag has a path, however it is spelled", () => {
  const path = [{ x: 1, y: 2 }, { x: 30, y: 40 }];
  expect(actsOf("computer", { action: "left_click_drag", start_coordinate: [1, 2], coordinate: [30, 40] })?.acts[0]?.path).toEqual(path);
  expect(actsOf("computer", { actions: [{ type: "drag", path }] })?.acts[0]?.path).toEqual(path);
  expect(actsOf("drag_and_drop", { x: 1, y: 2, destination_x: 30, destination_y: 40 })?.acts[0]?.path).toEqual(path);
});

test("scrolling has a direction", () => {
  expect(actsOf("computer", { action: "scroll", coordinate: [5, 5], scroll_direction: "up" })?.acts[0]).toMatchObject({ says: "scroll up at 5, 5", direction: { y: -1 } });
  expect(actsOf("computer", { actions: [{ type: "scroll", x: 1, y: 1, scroll_x: 0, scroll_y: 300 }] })?.acts[0]?.says).toBe("scroll down at 1, 1");
});

test("arguments that are no action are none", () => {
  expect(actsOf("look_up", { item: "apple" })).toBeNull();
  expect(actsOf("computer", "left_click")).toBeNull();
  expect(actsOf("computer", null)).toBeNull();
});

test("places of the wrong kind are left out", () => {
  const act = actsOf("computer", { action: "left_click", coordinate: ["x", {}] })?.acts[0];
  expect(act).toMatchObject({ kind: "click", says: "click" });
  expect(act?.at).toBeUndefined();
  expect(actsOf("computer", { actions: [7, null, "x"] })?.acts).toHaveLength(3);
});
