/** Who serves models behind the gateway. Their keys are given in a terminal and never shown. */

import { useQuery } from "@tanstack/react-query";

import { get } from "../api/http";
import { Command } from "../parts/Copy";
import { plural } from "../parts/format";
import { Line } from "../trace/Text";
import { Rows, Section } from "./Section";

export function Providers() {
  const query = useQuery({ queryKey: ["providers"], queryFn: ({ signal }) => get("/v2/providers", { signal }) });
  return (
    <Section title="Model providers" says="The gateway passes calls on to these with the key that is kept here, encrypted." error={query.error}>
      <Rows
        heads={["Name", "Speaks", "Address", "Models", "Key"]}
        rows={query.data?.items}
        rowKey={(provider) => provider.name}
        empty="No provider yet: the gateway has nobody to ask."
        cells={(provider) => [
          <strong key="name">
            <Line>{provider.name}</Line>
          </strong>,
          provider.dialect,
          <code key="url">
            <Line>{provider.base_url}</Line>
          </code>,
          provider.models.length ? <span title={provider.models.map((one) => one.name).join(", ")}>{plural(provider.models.length, "model")}</span> : <span className="quiet">as its catalog has them</span>,
          provider.has_key ? <span className="badge good">kept</span> : <span className="badge warn">none</span>,
        ]}
      />
      <div className="section-more">
        <p className="quiet">Add one in a terminal of the machine that serves this page:</p>
        <Command>hud providers add NAME --dialect openai --base-url URL --key-stdin</Command>
      </div>
    </Section>
  );
}
