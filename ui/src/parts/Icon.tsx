/** The icons of the pages: strokes on a 16-pixel grid, in the colour of their text. */

import type { ReactElement } from "react";

const SHAPES = {
  jobs: <><rect x="2.5" y="2.5" width="4.5" height="4.5" rx="1" /><rect x="9" y="2.5" width="4.5" height="4.5" rx="1" /><rect x="2.5" y="9" width="4.5" height="4.5" rx="1" /><rect x="9" y="9" width="4.5" height="4.5" rx="1" /></>,
  tasksets: <><path d="M5.5 4h8M5.5 8h8M5.5 12h8" /><path d="M2.4 4h.2M2.4 8h.2M2.4 12h.2" strokeWidth="2" /></>,
  compare: <><path d="M8 2v12" /><path d="M2.5 5.5h3M2.5 8h3M2.5 10.5h3M10.5 5.5h3M10.5 10.5h3" /></>,
  trophy: <><path d="M5 2.5h6v4a3 3 0 0 1-6 0v-4Z" /><path d="M5 4H2.8v.6A2.4 2.4 0 0 0 5.2 7M11 4h2.2v.6A2.4 2.4 0 0 1 10.8 7M8 9.5v2.2M5.5 13.5h5" /></>,
  environments: <><path d="M8 1.8 13.5 5v6L8 14.2 2.5 11V5L8 1.8Z" /><path d="M2.7 5.1 8 8.2l5.3-3.1M8 8.2v5.8" /></>,
  models: <><rect x="4" y="4" width="8" height="8" rx="1.5" /><path d="M6.5 1.8V4M9.5 1.8V4M6.5 12v2.2M9.5 12v2.2M1.8 6.5H4M1.8 9.5H4M12 6.5h2.2M12 9.5h2.2" /></>,
  settings: <><circle cx="8" cy="8" r="2" /><path d="M8 1.8v1.7M8 12.5v1.7M1.8 8h1.7M12.5 8h1.7M3.6 3.6l1.2 1.2M11.2 11.2l1.2 1.2M3.6 12.4l1.2-1.2M11.2 4.8l1.2-1.2" /></>,
  key: <><circle cx="5.2" cy="10.8" r="2.7" /><path d="m7.2 8.8 5.6-5.6M10.6 5.4l2 2" /></>,
  prompt: <path d="M3.5 2.8h9a1 1 0 0 1 1 1v6.4a1 1 0 0 1-1 1H7.6L4.6 13.6v-2.4H3.5a1 1 0 0 1-1-1V3.8a1 1 0 0 1 1-1Z" />,
  turn: <><path d="M8 2.2 9.3 6.7 13.8 8 9.3 9.3 8 13.8 6.7 9.3 2.2 8l4.5-1.3L8 2.2Z" /></>,
  tool: <path d="M9.9 2.6a3.6 3.6 0 0 0-3.3 5L2.7 11.5a1.3 1.3 0 0 0 1.8 1.8l3.9-3.9a3.6 3.6 0 0 0 4.8-4.3l-2 2-2.1-.6-.6-2.1 2-2a3.6 3.6 0 0 0-.6.2Z" />,
  eye: <><path d="M1.6 8s2.4-4.4 6.4-4.4S14.4 8 14.4 8 12 12.4 8 12.4 1.6 8 1.6 8Z" /><circle cx="8" cy="8" r="1.9" /></>,
  shell: <><rect x="1.8" y="2.8" width="12.4" height="10.4" rx="1.5" /><path d="m4.5 6 2 2-2 2M8.5 10.2h3" /></>,
  screen: <><rect x="1.8" y="2.8" width="12.4" height="8.4" rx="1.2" /><path d="M5.5 13.7h5M8 11.2v2.5" /></>,
  files: <><path d="M4 1.8h5L12.5 5v8.2a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V2.8a1 1 0 0 1 1-1Z" /><path d="M8.8 2v3.2h3.4M5.5 8.5h4.5M5.5 11h3" /></>,
  robot: <><rect x="3" y="5.5" width="10" height="7.5" rx="2" /><path d="M8 5.5V3.2M6 9v.8M10 9v.8M1.6 8.3v2M14.4 8.3v2" /><circle cx="8" cy="2.4" r=".8" /></>,
  subagent: <><circle cx="4" cy="3.8" r="1.8" /><circle cx="12" cy="12.2" r="1.8" /><path d="M4 5.6v2.9a2 2 0 0 0 2 2h.2M4 5.6V10a2.2 2.2 0 0 0 2.2 2.2h4" /></>,
  grade: <><circle cx="8" cy="8" r="5.8" /><path d="m5.4 8.2 1.8 1.8 3.4-3.8" /></>,
  error: <><path d="M8 2.2 14.4 13.2H1.6L8 2.2Z" /><path d="M8 6.4v3.2M8 11.4v.1" /></>,
  setup: <path d="M5 2.8v10.4l8-5.2-8-5.2Z" />,
  system: <><circle cx="8" cy="8" r="5.8" /><path d="M8 7.2v3.6M8 5v.1" /></>,
  unknown: <><circle cx="8" cy="8" r="5.8" /><path d="M6.3 6.4A1.8 1.8 0 1 1 8 8.4v.8M8 11.2v.1" /></>,
  search: <><circle cx="7" cy="7" r="4.2" /><path d="m10.2 10.2 3.4 3.4" /></>,
  close: <path d="m4 4 8 8M12 4l-8 8" />,
  chevron: <path d="m6 3.5 4.5 4.5L6 12.5" />,
  down: <path d="m3.5 6 4.5 4.5L12.5 6" />,
  up: <path d="m3.5 10 4.5-4.5L12.5 10" />,
  left: <path d="M10 3.5 5.5 8l4.5 4.5" />,
  copy: <><rect x="5.5" y="5.5" width="8" height="8" rx="1.3" /><path d="M10.5 3.2a1 1 0 0 0-1-1h-6a1 1 0 0 0-1 1v6a1 1 0 0 0 1 1" /></>,
  done: <path d="m3 8.4 3.2 3.2L13 4.8" />,
  link: <><path d="M6.8 9.2a2.6 2.6 0 0 0 3.7 0l2.3-2.3a2.6 2.6 0 0 0-3.7-3.7l-.9.9" /><path d="M9.2 6.8a2.6 2.6 0 0 0-3.7 0L3.2 9.1a2.6 2.6 0 0 0 3.7 3.7l.9-.9" /></>,
  download: <path d="M8 2.5v7.2M4.8 7l3.2 3.2L11.2 7M2.8 13.2h10.4" />,
  sun: <><circle cx="8" cy="8" r="2.8" /><path d="M8 1.5V3M8 13v1.5M1.5 8H3M13 8h1.5M3.4 3.4l1 1M11.6 11.6l1 1M3.4 12.6l1-1M11.6 4.4l1-1" /></>,
  moon: <path d="M13.4 9.6A5.8 5.8 0 0 1 6.4 2.6a5.8 5.8 0 1 0 7 7Z" />,
  auto: <><circle cx="8" cy="8" r="5.8" /><path d="M8 2.2v11.6a5.8 5.8 0 0 0 0-11.6Z" fill="currentColor" stroke="none" /></>,
  expand: <path d="M9.5 2.5h4v4M6.5 13.5h-4v-4M13.3 2.7 9.2 6.8M2.7 13.3l4.1-4.1" />,
  outline: <><path d="M2.5 3.5h11M5.5 8h8M5.5 12.5h8" /><path d="M2.5 8h.1M2.5 12.5h.1" strokeWidth="2" /></>,
  stage: <><rect x="1.8" y="2.5" width="12.4" height="11" rx="1.4" /><path d="M9.2 2.5v11" /></>,
  filter: <path d="M2 3.5h12M4.2 8h7.6M6.4 12.5h3.2" />,
  play: <path d="M4.8 3v10l8-5-8-5Z" />,
  pause: <path d="M5.2 3v10M10.8 3v10" strokeWidth="2.2" />,
  menu: <path d="M2.5 4.5h11M2.5 8h11M2.5 11.5h11" />,
  more: <path d="M3.5 8h.1M8 8h.1M12.5 8h.1" strokeWidth="2.4" />,
  again: <><path d="M13 8a5 5 0 1 1-1.6-3.7" /><path d="M13.2 2.2v2.6h-2.6" /></>,
  stop: <rect x="4" y="4" width="8" height="8" rx="1.2" />,
  code: <path d="m5.2 4.2-3.4 3.8 3.4 3.8M10.8 4.2l3.4 3.8-3.4 3.8" />,
  keyboard: <><rect x="1.5" y="4" width="13" height="8" rx="1.4" /><path d="M4 6.7h.1M6.7 6.7h.1M9.3 6.7h.1M12 6.7h.1M5 9.5h6" strokeWidth="1.6" /></>,
  clock: <><circle cx="8" cy="8" r="5.8" /><path d="M8 4.6V8l2.2 1.6" /></>,
  coins: <><ellipse cx="8" cy="4.5" rx="5" ry="2.2" /><path d="M3 4.5v3.6c0 1.2 2.2 2.2 5 2.2s5-1 5-2.2V4.5M3 8.1v3.4c0 1.2 2.2 2.2 5 2.2s5-1 5-2.2V8.1" /></>,
  flag: <path d="M3.5 14V2.5M3.5 3h8.8l-2 2.8 2 2.8H3.5" />,
  signout: <path d="M6.5 13.5H3.2a.7.7 0 0 1-.7-.7V3.2a.7.7 0 0 1 .7-.7h3.3M10.5 11l3-3-3-3M13.2 8H6" />,
} satisfies Record<string, ReactElement>;

export type IconName = keyof typeof SHAPES;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg viewBox="0 0 16 16" width={size} height={size} fill="none" stroke="currentColor" strokeWidth="1.35" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
      {SHAPES[name]}
    </svg>
  );
}
