/** What was changed, when and by whom. */

import { useInfiniteQuery } from "@tanstack/react-query";

import { get } from "../api/http";
import { Moment } from "../parts/Moment";
import { Json } from "../trace/Json";
import { Line } from "../trace/Text";
import { Rows, Section } from "./Section";

export function Audit() {
  const query = useInfiniteQuery({
    queryKey: ["audit"],
    queryFn: ({ pageParam, signal }) => get("/v2/audit", { query: { limit: 100, ...(pageParam ? { cursor: pageParam } : {}) }, signal }),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor,
  });
  return (
    <Section title="Audit log" says="Every change to people, keys, publications, budgets and what does not count." error={query.error}>
      <Rows
        heads={["When", "Who", "What", "Which", "More"]}
        rows={query.data?.pages.flatMap((page) => page.items)}
        rowKey={(entry) => entry.id}
        empty="Nothing was changed yet."
        cells={(entry) => [
          <Moment key="at" iso={entry.at} />,
          <Line key="who">{entry.actor}</Line>,
          <code key="what">{entry.action}</code>,
          <code key="which">
            <Line>{entry.subject ?? ""}</Line>
          </code>,
          entry.detail && Object.keys(entry.detail).length ? <Json key="more" value={entry.detail} open={0} /> : null,
        ]}
      />
      {query.hasNextPage ? (
        <p className="section-more">
          <button type="button" className="button" onClick={() => void query.fetchNextPage()} disabled={query.isFetchingNextPage}>
            Earlier ones
          </button>
        </p>
      ) : null}
    </Section>
  );
}
