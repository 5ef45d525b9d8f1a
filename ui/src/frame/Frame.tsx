/** What stands around every page: where one can go, and the light. */

import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { useEffect, useState } from "react";

import { bundledJob } from "../bundle/place";
import { Icon, type IconName } from "../parts/Icon";
import { setTheme, type Theme, useTheme } from "../parts/theme";
import "./frame.css";
import "./head.css";

const PLACES: { to: string; icon: IconName; label: string }[] = [
  { to: "/jobs", icon: "jobs", label: "Jobs" },
  { to: "/tasksets", icon: "trophy", label: "Tasksets" },
  { to: "/environments", icon: "environments", label: "Environments" },
  { to: "/models", icon: "models", label: "Models" },
  { to: "/usage", icon: "coins", label: "Usage" },
  { to: "/settings", icon: "settings", label: "Settings" },
];

/** Whom a bundle is given sees one job, and nothing that a platform would be needed for. */
const SHOWN = bundledJob === null ? PLACES : PLACES.slice(0, 1);

const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
const SAYS: Record<Theme, string> = { auto: "Colours as the system has them", light: "Light colours", dark: "Dark colours" };
const LIGHT: Record<Theme, IconName> = { auto: "auto", light: "sun", dark: "moon" };

export function Frame() {
  const theme = useTheme();
  const path = useRouterState({ select: (state) => state.location.pathname });
  const [isOpen, setOpen] = useState(false);
  useEffect(() => setOpen(false), [path]);
  return (
    <div className="frame">
      <a
        className="skip"
        href="#main"
        onClick={(event) => {
          // In a bundle what stands behind the # is the page itself.
          event.preventDefault();
          document.getElementById("main")?.focus();
        }}
      >
        Skip to the page
      </a>
      <nav className={`places${isOpen ? " open" : ""}`} aria-label="Pages">
        <Link to="/" className="brand" aria-label="hud, to the jobs">
          <Mark />
          <span>hud</span>
        </Link>
        <ul>
          {SHOWN.map((place) => (
            <li key={place.to}>
              <Link to={place.to as "/jobs"} className="place" activeProps={{ className: "place here", "aria-current": "page" }}>
                <Icon name={place.icon} />
                <span>{place.label}</span>
              </Link>
            </li>
          ))}
        </ul>
        <button type="button" className="place" onClick={() => setTheme(NEXT[theme])} title={SAYS[theme]} aria-label={`${SAYS[theme]}; change`}>
          <Icon name={LIGHT[theme]} />
          <span>{theme === "auto" ? "System" : theme === "light" ? "Light" : "Dark"}</span>
        </button>
      </nav>
      <button type="button" className="icon-button open-places" onClick={() => setOpen(!isOpen)} aria-expanded={isOpen} aria-label="Pages">
        <Icon name={isOpen ? "close" : "menu"} />
      </button>
      <main id="main" tabIndex={-1}>
        <Outlet />
      </main>
    </div>
  );
}

function Mark() {
  return (
    <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="var(--accent)" />
      <path d="M9 12V9.6A.6.6 0 0 1 9.6 9H12M20 9h2.4a.6.6 0 0 1 .6.6V12M23 20v2.4a.6.6 0 0 1-.6.6H20M12 23H9.6a.6.6 0 0 1-.6-.6V20" fill="none" stroke="var(--on-strong)" strokeWidth="2.6" strokeLinecap="round" strokeLinejoin="round" />
      <circle cx="16" cy="16" r="2.6" fill="var(--on-strong)" />
    </svg>
  );
}
