/** Blocks of content as tools and messages hold them: texts, pictures, sounds, films, links, data. */

import { bytes } from "../../parts/format";
import { Icon } from "../../parts/Icon";
import type { Media } from "../blobs";
import { Json } from "../Json";
import type { Block } from "../step";
import { Line, Text } from "../Text";
import { useMedia } from "../useMedia";
import { Picture } from "./Picture";
import "./blocks.css";

export function Blocks({ blocks, mono = false, lines }: { blocks: Block[]; mono?: boolean; lines?: number }) {
  return blocks.map((block, index) => <BlockView key={index} block={block} mono={mono} {...(lines ? { lines } : {})} />);
}

function BlockView({ block, mono, lines }: { block: Block; mono: boolean; lines?: number }) {
  switch (block.kind) {
    case "text":
      return <Text words={block.words} mono={mono} {...(lines ? { lines } : {})} />;
    case "picture":
      return block.media.url === null ? <Unshown media={block.media} noun="picture" /> : <Picture url={block.media.url} />;
    case "sound":
      return block.media.url === null ? <Unshown media={block.media} noun="sound" /> : <Sound url={block.media.url} />;
    case "film":
      return block.media.url === null ? <Unshown media={block.media} noun="film" /> : <Moving url={block.media.url} />;
    case "link":
      return <Address uri={block.uri} name={block.name} />;
    case "data":
      return <Json value={block.value} />;
  }
}

function Sound({ url }: { url: string }) {
  return <audio controls preload="none" src={useMedia(url) ?? undefined} className="block-sound" />;
}

function Moving({ url }: { url: string }) {
  return <video controls preload="metadata" src={useMedia(url) ?? undefined} className="block-film" />;
}

function Unshown({ media, noun }: { media: Extract<Media, { url: null }>; noun: string }) {
  return (
    <p className="block-unshown">
      <Icon name="error" size={13} /> A {noun} that cannot be shown: <Line>{media.why}</Line>
    </p>
  );
}

const WEB = /^https?:\/\/[^\s\u0000-\u001f\u007f]+$/i;

/** An address from a trace: shown whole, and followed only where it is one of the web. */
export function Address({ uri, name }: { uri: string; name?: string }) {
  const shown = uri.length > 300 ? `${uri.slice(0, 300)}… (${bytes(uri.length)})` : uri;
  const isWeb = WEB.test(uri) && uri.length < 4000;
  return (
    <span className="block-address">
      {name ? (
        <>
          <Line>{name}</Line>{" "}
        </>
      ) : null}
      {isWeb ? (
        <a className="link" href={uri} rel="noreferrer noopener nofollow" target="_blank">
          <Line>{shown}</Line>
        </a>
      ) : (
        <code>
          <Line>{shown}</Line>
        </code>
      )}
    </span>
  );
}
