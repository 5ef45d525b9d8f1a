/** The kinds of steps: their names, their icons, and which of them begin closed. */

import type { Kind } from "../api/types";
import type { IconName } from "../parts/Icon";

interface KindOf {
  label: string;
  icon: IconName;
  /** Begins as one line. */
  isQuiet?: boolean;
  /** Pixels, about, when open and closed. */
  height: number;
}

export const CLOSED_HEIGHT = 38;

export const KINDS: Record<Kind, KindOf> = {
  setup: { label: "Setup", icon: "setup", isQuiet: true, height: 120 },
  prompt: { label: "Prompt", icon: "prompt", height: 96 },
  turn: { label: "Model", icon: "turn", height: 110 },
  tool: { label: "Tool", icon: "tool", height: 140 },
  shell: { label: "Shell", icon: "shell", height: 190 },
  screen: { label: "Screen", icon: "screen", height: 230 },
  files: { label: "Files", icon: "files", height: 220 },
  robot: { label: "Robot", icon: "robot", isQuiet: true, height: 120 },
  subagent: { label: "Subagent", icon: "subagent", height: 260 },
  grade: { label: "Grade", icon: "grade", height: 200 },
  error: { label: "Error", icon: "error", height: 90 },
  system: { label: "System", icon: "system", isQuiet: true, height: 90 },
  unknown: { label: "Unknown", icon: "unknown", isQuiet: true, height: 160 },
};

export const KIND_ORDER = Object.keys(KINDS) as Kind[];
