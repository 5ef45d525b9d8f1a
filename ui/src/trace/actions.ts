/** What an agent did to a screen, read from the arguments of its call, whichever dialect spelled it. */

import { list, number, type Table, table, text } from "./loose";

export interface Point {
  x: number;
  y: number;
}

/** One thing done to a screen. Places are pixels of the picture, or thousandths of it. */
export interface Act {
  kind: "click" | "move" | "drag" | "scroll" | "type" | "key" | "look" | "wait" | "go" | "zoom" | "other";
  at?: Point;
  path?: Point[];
  button?: "left" | "right" | "middle";
  times?: number;
  text?: string;
  direction?: Point;
  says: string;
}

export interface Acts {
  unit: "pixel" | "thousandth";
  acts: Act[];
}

const GEMINI = new Set([
  ...["open_web_browser", "click_at", "hover_at", "type_text_at", "scroll_document", "scroll_at", "drag_and_drop"],
  ...["key_combination", "navigate", "go_back", "go_forward", "search", "wait_5_seconds"],
]);

/** Read a call's arguments. `null`: it is no action on a screen. */
export function actsOf(name: string, given: unknown): Acts | null {
  const last = name.split("__").at(-1) ?? name;
  const args = table(given);
  if (GEMINI.has(last)) return { unit: "thousandth", acts: gemini(last, args) };
  const actions = list(args.actions);
  if (actions.length) return { unit: "pixel", acts: actions.map((one) => one_action(table(one))) };
  if (typeof args.action === "object" && args.action !== null) return { unit: "pixel", acts: [one_action(table(args.action))] };
  if (text(args.action) !== null || (text(args.type) !== null && place(args) !== undefined)) {
    return { unit: "pixel", acts: [one_action(args)] };
  }
  return null;
}

function point(value: unknown): Point | undefined {
  const [x, y] = list(value);
  const [px, py] = [number(x), number(y)];
  return px !== null && py !== null ? { x: px, y: py } : undefined;
}

function place(args: Table): Point | undefined {
  const [x, y] = [number(args.x), number(args.y)];
  return x !== null && y !== null ? { x, y } : point(args.coordinate);
}

function at(where: Point | undefined): string {
  return where ? ` at ${Math.round(where.x)}, ${Math.round(where.y)}` : "";
}

function withPlace(act: Act, where: Point | undefined): Act {
  return where ? { ...act, at: where } : act;
}

function click(where: Point | undefined, button: "left" | "right" | "middle", times: number): Act {
  const how = times > 2 ? "triple click" : times === 2 ? "double click" : "click";
  const says = `${button === "left" ? "" : `${button} `}${how}${at(where)}`;
  return withPlace({ kind: "click", button, times, says }, where);
}

function typed(value: unknown, where?: Point): Act {
  const said = text(value) ?? "";
  return withPlace({ kind: "type", text: said, says: `type “${said}”` }, where);
}

function pressed(value: unknown): Act {
  const keys = Array.isArray(value) ? value.map(String).join("+") : (text(value) ?? "?");
  return { kind: "key", text: keys, says: `press ${keys}` };
}

function dragged(path: Point[]): Act {
  const [first, last] = [path[0], path.at(-1)];
  return { kind: "drag", path, says: `drag${at(first)} to ${last ? `${Math.round(last.x)}, ${Math.round(last.y)}` : "?"}` };
}

function scrolled(where: Point | undefined, direction: Point): Act {
  const word = Math.abs(direction.y) >= Math.abs(direction.x) ? (direction.y >= 0 ? "down" : "up") : direction.x >= 0 ? "right" : "left";
  return withPlace({ kind: "scroll", direction, says: `scroll ${word}${at(where)}` }, where);
}

const WAYS: Record<string, Point> = { down: { x: 0, y: 1 }, up: { x: 0, y: -1 }, left: { x: -1, y: 0 }, right: { x: 1, y: 0 } };

function one_action(args: Table): Act {
  const name = text(args.action) ?? text(args.type) ?? "?";
  const where = place(args);
  switch (name) {
    case "left_click":
    case "click": {
      const button = text(args.button);
      return click(where, button === "right" ? "right" : button === "wheel" || button === "middle" ? "middle" : "left", 1);
    }
    case "right_click":
      return click(where, "right", 1);
    case "middle_click":
      return click(where, "middle", 1);
    case "double_click":
      return click(where, "left", 2);
    case "triple_click":
      return click(where, "left", 3);
    case "left_mouse_down":
    case "left_mouse_up":
      return withPlace({ kind: "click", button: "left", times: 1, says: name.replaceAll("_", " ") + at(where) }, where);
    case "mouse_move":
    case "move":
      return withPlace({ kind: "move", says: `move to${at(where).replace(" at", "")}` }, where);
    case "left_click_drag":
    case "drag": {
      const path = list(args.path).map((one) => place(table(one)) ?? point(one)).filter((one) => one !== undefined);
      if (path.length) return dragged(path);
      const [from, to] = [point(args.start_coordinate), point(args.coordinate) ?? point(args.end_coordinate)];
      return dragged([from, to].filter((one) => one !== undefined));
    }
    case "scroll": {
      const way = WAYS[text(args.scroll_direction) ?? ""];
      return scrolled(where, way ?? { x: number(args.scroll_x) ?? 0, y: number(args.scroll_y) ?? 0 });
    }
    case "type":
      return typed(args.text);
    case "key":
    case "keypress":
    case "hold_key":
      return pressed(args.keys ?? args.text ?? args.key);
    case "screenshot":
    case "cursor_position":
      return { kind: "look", says: name === "screenshot" ? "look" : "where is the pointer" };
    case "wait":
      return { kind: "wait", says: "wait" };
    case "zoom":
      return { kind: "zoom", says: "look closer" };
    default:
      return withPlace({ kind: "other", says: name.replaceAll("_", " ") + at(where) }, where);
  }
}

function gemini(name: string, args: Table): Act[] {
  const where = place(args);
  switch (name) {
    case "click_at":
      return [click(where, "left", 1)];
    case "hover_at":
      return [withPlace({ kind: "move", says: `move to${at(where).replace(" at", "")}` }, where)];
    case "type_text_at":
      return [click(where, "left", 1), typed(args.text, where), ...(args.press_enter === true ? [pressed("Enter")] : [])];
    case "scroll_document":
    case "scroll_at":
      return [scrolled(where, WAYS[text(args.direction) ?? ""] ?? { x: 0, y: 1 })];
    case "drag_and_drop": {
      const to = point([args.destination_x, args.destination_y]);
      return [dragged([where, to].filter((one) => one !== undefined))];
    }
    case "key_combination":
      return [pressed(args.keys)];
    case "navigate":
      return [{ kind: "go", text: text(args.url) ?? "", says: `go to ${text(args.url) ?? "?"}` }];
    case "open_web_browser":
      return [{ kind: "look", says: "open the browser" }];
    case "wait_5_seconds":
      return [{ kind: "wait", says: "wait" }];
    default:
      return [{ kind: "other", says: name.replaceAll("_", " ") }];
  }
}
