// Live ladders: reads the server-sent events of "stream" (or polls "books" if the server has no threads for streams) and
// draws them. The address names what is shown: "#TICKER" is one market in detail, nothing is all of them. Markets come and
// go while one looks. No library, no build step. All text goes through textContent and all styles through the CSSOM, so a strict policy holds.
"use strict";

const DEPTH = 9; // levels drawn of each side
const DEEP = 20; // the same in a market's own view: as many as the server sends
const WINDOW = 300; // seconds of the price line
const POINTS = 1500; // of the price line, kept
const ROWS = 12; // trades drawn
const TRADES = 50; // kept of each market, and drawn in its own view
const SVG = "http://www.w3.org/2000/svg";
const LOST = "SERVER LOST";
const NOTHING = "No books are subscribed to: set KALSHI_TICKERS or KALSHI_SERIES";

const byId = (id) => document.getElementById(id);
const seconds = () => performance.now() / 1000;
// As the terminal trims them: at least cents, and beyond them only what is not zero; decimals of sizes only if there are any.
const price = (number) => (Number.isFinite(number) ? number.toFixed(5).replace(/0{1,3}$/, "") : "–");
const grouped = (number, digits) => number.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const isWhole = (text) => Number.isInteger(Number(text));

function size(text) {
  const number = Number(text);
  const whole = grouped(number, isWhole(text) ? 0 : 2);
  return whole.length > 10 ? `${grouped(number / 1e6, 3)}M` : whole;
}
const milliseconds = (value) => (value === null ? "–" : (value * 1000).toFixed(value < 0.01 ? 2 : 0));

function ageText(age) {
  if (age === null) return "–";
  if (age < 60) return `${age.toFixed(1)} s`;
  return age < 3600 ? `${Math.floor(age / 60)} min ${Math.floor(age % 60)} s` : `${Math.floor(age / 3600)} h ${Math.floor((age % 3600) / 60)} min`;
}

// Until a market opens or closes; counts down by the second where that matters.
function remaining(time) {
  const left = Math.max(0, Math.ceil(time));
  const [days, hours, minutes] = [Math.floor(left / 86400), Math.floor(left / 3600) % 24, Math.floor(left / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  const end = String(left % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${end}` : `${minutes}:${end}`;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function mark(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}

// One side's rows, made once and filled again and again: the best level is next to the middle.
class Side {
  constructor(body, isAsk) {
    this.body = body;
    this.isAsk = isAsk;
    this.rows = [];
  }

  addRow() {
    const row = this.body.insertRow(this.isAsk ? 0 : -1);
    const cells = Array.from({ length: 4 }, () => row.insertCell());
    const bar = document.createElement("div");
    const text = document.createElement("span");
    bar.className = "bar";
    text.className = "size";
    cells[this.isAsk ? 3 : 0].append(bar, text);
    this.rows.push({ row, bar, text, yes: cells[1], no: cells[2] });
  }

  fill(levels, largest, least) {
    while (this.rows.length < Math.max(levels.length, DEPTH)) this.addRow(); // empty rows too: the middle stays where it is
    const blank = levels.every((level) => isWhole(level[1])) ? "" : "   "; // keeps the decimal points in a column
    this.rows.forEach((row, i) => {
      const level = levels[i];
      const own = level ? Number(level[0]) : NaN;
      row.row.hidden = !level && i >= least;
      put(row.text, level ? size(level[1]) + (isWhole(level[1]) ? blank : "") : "");
      put(row.yes, level ? price(this.isAsk ? 1 - own : own) : "");
      put(row.no, level ? price(this.isAsk ? own : 1 - own) : "");
      row.bar.style.width = level ? `${Math.max(1, (100 * Number(level[1])) / largest)}%` : "0";
    });
  }
}

function tradeRow(side, ...strings) {
  const row = document.createElement("tr");
  row.className = side;
  for (const text of strings) put(row.insertCell(), text);
  return row;
}

class Market {
  constructor(ticker) {
    this.ticker = ticker;
    this.book = null;
    this.at = 0; // when the book arrived, by this page's clock
    this.prices = []; // [Unix time, mid of yes, whether it was unknown for a while before]
    this.isBroken = false;
    this.trades = []; // newest first
    this.market = null; // its description, if the server follows its series or event
    this.phase = ""; // "unopened", "open", "paused", "closed", "determined yes", "settled yes" …
    this.isGone = false; // the server does not show it anymore
    this.isNew = false;
    const root = byId("market").content.firstElementChild.cloneNode(true);
    this.root = root;
    this.part = (name) => root.querySelector(name);
    this.asks = new Side(this.part(".asks"), true);
    this.bids = new Side(this.part(".bids"), false);
    this.link = this.part(".ticker a");
    this.link.href = `#${encodeURIComponent(ticker)}`;
    put(this.link, ticker);
    this.part(".ladder").setAttribute("aria-label", `Order book of ${ticker}`);
    this.part(".chart").setAttribute("aria-label", `Price of yes in ${ticker}, last five minutes`);
    this.part(".trades").setAttribute("aria-label", `Last trades in ${ticker}`);
    root.dataset.market = ticker;
    root.dataset.ended = "false";
    this.place();
  }

  setHistory(data) {
    this.prices = data.prices.map(([time, mid]) => [time, Number(mid), false]);
    this.trades = data.trades.reverse();
    this.isNew = true;
  }

  setBook(book) {
    this.book = book;
    this.at = seconds();
    if (book.status === "LIVE" && book.mid !== null) {
      this.prices.push([Date.now() / 1000, Number(book.mid), this.isBroken]);
      this.isBroken = false;
      if (this.prices.length > POINTS) this.prices.splice(0, this.prices.length - POINTS);
    } else {
      this.isBroken = true;
    }
    this.isNew = true;
  }

  describe(phase, market) {
    if (!market) return;
    const hadEnded = this.hasEnded;
    this.phase = phase;
    this.market = market;
    this.isNew = true;
    this.part(".about").hidden = false;
    const { title, yes_sub_title: strike } = market;
    const isSaid = !strike || /^yes$/i.test(strike) || (title ?? "").toLowerCase().includes(strike.toLowerCase());
    put(this.part(".title"), isSaid ? title || strike || "" : title ? `${title}: ${strike}` : strike);
    mark(this.root, "ended", String(this.hasEnded));
    if (this.hasEnded !== hadEnded) this.place();
  }

  // Markets that are over come last.
  place() {
    const isFocused = document.activeElement === this.link; // moving it takes the focus away
    byId("markets").insertBefore(this.root, this.hasEnded ? null : byId("markets").querySelector("[data-ended=true]"));
    if (isFocused) this.link.focus({ preventScroll: true });
  }

  get hasEnded() {
    return /^(closed|determined|settled)/.test(this.phase);
  }

  get series() {
    return this.market?.series_ticker ?? seriesOf(this.ticker);
  }

  addTrade(trade) {
    this.trades.unshift(trade);
    this.trades.length = Math.min(this.trades.length, TRADES);
    this.isNew = true;
  }

  show(isShown, isAlone) {
    this.root.hidden = !isShown;
    this.isAlone = isAlone; // in its own view
    this.isNew = true;
  }

  draw(lost) {
    if (this.book === null || this.root.hidden) return;
    this.followClock();
    const status = lost && this.book.status !== "UNKNOWN" ? "STALE" : this.book.status;
    const isQuiet = this.phase === "paused" || this.phase === "unopened"; // and so its book may well be empty
    const badge = this.hasEnded ? this.phase : this.isGone ? "gone" : isQuiet && /LIVE|PENDING/.test(status) ? this.phase : status;
    put(this.part(".status"), badge);
    mark(this.part(".status"), "is", badge);
    mark(this.root, "status", status);
    mark(this.root, "live", String(status === "LIVE" && !this.hasEnded && !this.isGone));
    if (this.market) this.drawClock();
    const age = this.book.age === null ? null : this.book.age + seconds() - this.at;
    put(this.part(".age"), this.book.error || age === null || this.hasEnded || this.isGone ? "" : `changed ${ageText(age)} ago`);
    put(this.part(".error"), (!this.hasEnded && this.book.error) || "");
    this.drawChart(status === "LIVE" && !this.hasEnded && !this.isGone);
    if (this.isNew) {
      this.isNew = false;
      this.drawLadder();
      this.drawTrades();
    }
  }

  // When it opens, or else closes or has closed, and in how many seconds; NaN if that is not known.
  next() {
    const at = this.phase === "unopened" ? this.market.open_at : this.market.close_at;
    return [at, at ? Date.parse(at) / 1000 - exchangeTime() : NaN];
  }

  // Opens and closes it if the server is late to say so.
  followClock() {
    if (!this.market || this.hasEnded || !(this.next()[1] < -1)) return;
    describe({ market_ticker: this.ticker, phase: this.phase === "unopened" ? "open" : "closed", market: this.market });
  }

  drawClock() {
    const [at, left] = this.next();
    let text = "";
    if (this.hasEnded) text = left < 0 ? `closed ${remaining(-left)} ago` : ""; // it may have closed early
    else if (at) text = `${this.phase === "unopened" ? "opens" : "closes"} ${left > 0 ? `in ${remaining(left)}` : "now"}`;
    const time = this.part("time");
    put(time, text);
    mark(time, "is", !this.hasEnded && left < 60 ? "soon" : "");
    if (at && time.dateTime !== at) {
      time.dateTime = at;
      time.title = new Date(at).toLocaleString();
    }
  }

  drawLadder() {
    const depth = this.isAlone ? DEEP : DEPTH;
    const bids = this.book.yes.slice(0, depth);
    const asks = this.book.no.slice(0, depth);
    const sizes = (levels) => levels.map((level) => Number(level[1]));
    const largest = Math.max(...sizes(bids), ...sizes(asks), 0.01);
    const least = this.hasEnded ? 0 : DEPTH; // an empty book of a market that is over needs no room
    this.bids.fill(bids, largest, least);
    this.asks.fill(asks, largest, least);
    const sum = (levels) => sizes(levels).reduce((total, one) => total + one, 0);
    const [bid, ask] = [sum(bids), sum(asks)];
    const mid = this.book.mid === null ? NaN : Number(this.book.mid);
    put(this.part(".mid"), price(mid));
    put(this.part(".no-mid"), price(1 - mid));
    const isKnown = bid || ask || this.book.status === "LIVE"; // a book that is still PENDING is not an empty one
    const empty = isKnown ? (bid ? "no asks" : ask ? "no bids" : "no orders") : "";
    put(this.part(".spread"), this.hasEnded ? this.phase : this.book.spread === null ? empty : `spread ${price(Number(this.book.spread))}`);
    put(this.part(".imbalance"), bid + ask ? `imb. ${((bid - ask) / (bid + ask)).toFixed(2).replace("-", "−")}` : "");
  }

  drawTrades() {
    this.part(".trades tbody").replaceChildren(
      ...this.trades.slice(0, this.isAlone ? TRADES : ROWS).map((trade) =>
        tradeRow(
          trade.taker_outcome_side === "no" ? "no" : "yes",
          new Date(trade.time * 1000).toTimeString().slice(0, 8),
          trade.taker_outcome_side ?? "",
          price(Number(trade.yes_price)),
          trade.count === null ? "" : size(trade.count),
        ),
      ),
    );
    const [last, before] = this.trades;
    const move = last && before ? Number(last.yes_price) - Number(before.yes_price) : 0;
    put(this.part(".last"), last ? `${price(Number(last.yes_price))} ${move > 0 ? "▲" : move < 0 ? "▼" : "■"}` : "");
    mark(this.part(".last"), "is", move > 0 ? "up" : move < 0 ? "down" : "");
  }

  drawChart(isLive) {
    const now = Date.now() / 1000;
    const points = this.prices.filter(([time]) => now - time <= WINDOW);
    if (!points.length) return;
    const trades = this.trades.filter((trade) => now - trade.time <= WINDOW && trade.time >= points[0][0]);
    const values = [...points.map(([, mid]) => mid), ...trades.map((trade) => Number(trade.yes_price))];
    let [low, high] = [Math.min(...values), Math.max(...values)];
    const least = 0.02 - (high - low); // a line that does not move is drawn in the middle, and a tick is not a mountain
    if (least > 0) [low, high] = [low - least / 2, high + least / 2];
    const start = Math.min(points[0][0], now - 10);
    const x = (time) => (314 * (time - start)) / (now - start);
    const y = (value) => 152 - (144 * (value - low)) / (high - low);
    let [line, area, from] = ["", "", ""];
    points.forEach(([time, mid, isBroken], i) => {
      const [left, top] = [x(time).toFixed(1), y(mid).toFixed(1)];
      if (i === 0 || isBroken) {
        area += from && `V160H${from}Z`;
        from = left;
      }
      const step = from === left ? `M${left} ${top}` : `H${left}V${top}`;
      line += step;
      area += step;
    });
    const end = isLive ? "H314" : ""; // while the book is not LIVE, the price now is unknown
    this.part(".line").setAttribute("d", line + end);
    this.part(".area").setAttribute("d", `${area}${end}V160H${from}Z`);
    const last = this.trades[0];
    const level = last ? y(Math.min(high, Math.max(low, Number(last.yes_price)))).toFixed(1) : "-9";
    this.part(".last-price").setAttribute("y1", level);
    this.part(".last-price").setAttribute("y2", level);
    this.part(".dots").replaceChildren(
      ...trades.map((trade) => {
        const dot = document.createElementNS(SVG, "path"); // zero length with round ends: stays round when stretched
        dot.setAttribute("d", `M${x(trade.time).toFixed(1)} ${y(Number(trade.yes_price)).toFixed(1)}h.01`);
        dot.setAttribute("class", trade.taker_outcome_side === "no" ? "no" : "yes");
        return dot;
      }),
    );
    put(this.part(".high"), price(high));
    put(this.part(".low"), price(low));
    put(this.part(".since"), `${ageText(now - start)} ago`);
    put(this.part(".now"), "now");
  }
}

const markets = new Map();
let feed = null; // its last metrics
let heard = seconds(); // when anything last arrived
let moved = -Infinity; // when a book or a trade last arrived
let begun = null; // the markets of a stream that has just been opened; null once all are there
let isOpen = false;
let source = null;
let opened = chosen(); // the market in its own view

function marketOf(ticker) {
  if (!markets.has(ticker)) {
    markets.set(ticker, new Market(ticker));
    arrange();
  }
  return markets.get(ticker);
}

const seriesOf = (ticker) => ticker.split("-", 1)[0];
const suffixOf = (ticker) => ticker.slice(ticker.lastIndexOf("-"));

// The market to look at instead of one that is over: the one of its series that opened last, with the same strike if there is.
function newestLike(ticker) {
  const series = markets.get(ticker)?.series ?? seriesOf(ticker);
  const others = [...markets.values()].filter((one) => one.ticker !== ticker && one.series === series && !one.isGone && !one.hasEnded);
  const rank = (one) => [one.phase === "unopened" ? 0 : 1, Date.parse(one.market?.open_at) || 0, suffixOf(one.ticker) === suffixOf(ticker) ? 1 : 0];
  return others.reduce((best, one) => {
    if (!best) return one;
    const [mine, its] = [rank(one), rank(best)];
    const i = mine.findIndex((value, k) => value !== its[k]);
    return i >= 0 && mine[i] > its[i] ? one : best;
  }, null);
}

function describe({ market_ticker: ticker, phase, market }) {
  const known = markets.get(ticker);
  known?.describe(phase, market);
  if (known && chosen()) arrange();
}

// The server does not show this market anymore: it stays as long as it is looked at in its own view.
function leave(ticker) {
  const market = markets.get(ticker);
  if (!market) return;
  market.isGone = true;
  if (ticker !== chosen()) {
    const hasFocus = market.root.contains(document.activeElement);
    const next = market.root.nextElementSibling ?? market.root.previousElementSibling;
    market.root.remove();
    markets.delete(ticker);
    if (hasFocus) (next?.querySelector(".ticker a") ?? byId("filter")).focus({ preventScroll: true });
  }
  arrange();
}

// A market that is not among those the server shows has gone while this page was not connected.
function leaveAllBut(shown) {
  for (const ticker of [...markets.keys()]) if (!shown.has(ticker) && !markets.get(ticker).isGone) leave(ticker);
}

function begin({ market_ticker: ticker, ...history }) {
  const market = marketOf(ticker);
  market.isGone = false;
  market.setHistory(history);
  begun?.add(ticker);
  if (chosen()) arrange();
}

function setFeed(metrics) {
  feed = metrics;
  feed.at = seconds();
  if (begun) leaveAllBut(begun); // the first one comes after all markets
  begun = null;
}

// Unix time in seconds by the exchange's clock: this device's may be wrong.
const exchangeTime = () => (feed === null ? Date.now() / 1000 : feed.time + seconds() - feed.at);

// The ticker in the address: the market in its own view; empty for all markets.
function chosen() {
  const name = location.hash.slice(1);
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // a stray "%"
  }
}

// Shows what the address and the filter name.
function arrange() {
  const ticker = chosen();
  const filter = byId("filter").value.trim();
  let shown = 0;
  const contains = (text) => text.toLowerCase().includes(filter.toLowerCase());
  for (const market of markets.values()) {
    const isShown = ticker ? market.ticker === ticker : contains(market.ticker) || contains(market.market?.title ?? "");
    market.show(isShown, Boolean(ticker));
    shown += isShown;
  }
  mark(document.body, "view", ticker ? "market" : "all");
  document.title = ticker ? `${ticker} · kalshi_feed` : "kalshi_feed";
  put(byId("count"), filter ? `${shown} of ${markets.size}` : "");
  note(ticker, filter, shown);
}

// Says why nothing is shown, or that the market that is shown is over, and which one is the newest of its series.
function note(ticker, filter, shown) {
  const market = markets.get(ticker);
  const newest = ticker && (!market || market.isGone || market.hasEnded) ? newestLike(ticker) : null;
  const follows = feed?.following.join(", ");
  let said = "Waiting for books …";
  if (market) said = market.hasEnded ? `${ticker} is over: ${market.phase}` : market.isGone ? `This server does not show ${ticker} anymore` : "";
  else if (!markets.size && feed?.state === "CONNECTED") said = follows ? `No market of ${follows} to show at the moment` : NOTHING;
  else if (ticker && markets.size) said = `This server does not show ${ticker}`;
  else if (markets.size) said = `No market's ticker or title contains “${filter}”`;
  put(byId("said"), newest ? `${said}. The newest market of ${newest.series}: ` : said);
  put(byId("newest"), newest?.ticker ?? "");
  byId("newest").hidden = !newest;
  if (newest) byId("newest").href = newest.link.href;
  byId("note").hidden = market ? !said : shown > 0;
  byId("note").classList.toggle("above", Boolean(market));
}

function turnTo() {
  const before = document.body.dataset.view === "market" ? markets.get(opened) : undefined;
  opened = chosen();
  for (const market of [...markets.values()]) if (market.isGone && market.ticker !== opened) leave(market.ticker);
  arrange();
  if (opened) {
    byId("back").focus({ preventScroll: true });
    scrollTo(0, 0);
  } else {
    (before?.isGone ? byId("filter") : before?.link)?.focus(); // back to where it was opened
  }
}

function drawFeed(lost) {
  const health = feed?.health ?? { status: "down", reasons: [] };
  const state = lost ? LOST : feed === null ? "CONNECTING" : feed.state === "CONNECTED" && health.status === "degraded" ? "DEGRADED" : feed.state;
  put(byId("state"), state);
  mark(byId("state"), "is", state);
  put(byId("reason"), lost ? "no answer from this page's server; retrying" : health.reasons.join("; "));
  if (feed !== null) {
    if (!markets.size) arrange();
    put(byId("exchange"), feed.exchange);
    put(byId("rate"), feed.rate_1s.toFixed(0));
    put(byId("latency"), `${milliseconds(feed.processing_latency_p50)} / ${milliseconds(feed.processing_latency_p99)} ms`);
    put(byId("message-age"), feed.last_message_age === null ? "–" : ageText(Math.min(feed.last_message_age + seconds() - feed.at, seconds() - moved)));
    put(byId("gaps"), String(feed.gaps));
    put(byId("reconnects"), String(feed.reconnects));
  }
}

function draw() {
  const lost = !isOpen || seconds() - heard > 3 * (feed?.heartbeat ?? 2) + 1;
  if (lost && isOpen) follow(); // a connection that is open and silent is dead
  drawFeed(lost && feed !== null);
  for (const market of markets.values()) market.draw(lost);
}

function hear(kind, handle) {
  source.addEventListener(kind, (event) => {
    heard = seconds();
    if (kind === "book" || kind === "trade") moved = heard;
    handle(JSON.parse(event.data));
  });
}

function follow() {
  source?.close();
  source = new EventSource("stream");
  isOpen = false;
  source.onopen = () => {
    isOpen = true;
    heard = seconds();
    begun = new Set();
  };
  source.onerror = () => {
    isOpen = false; // the browser tries again by itself, unless the answer was not a stream
    if (source.readyState === EventSource.CLOSED) poll();
  };
  hear("history", begin);
  hear("market", describe);
  hear("gone", (data) => leave(data.market_ticker));
  hear("book", (data) => marketOf(data.market_ticker).setBook(data));
  hear("trade", (data) => marketOf(data.market_ticker).addTrade(data));
  hear("feed", setFeed);
}

// Without streams: asks once a second, and tries every now and then whether there are streams by now.
async function poll() {
  for (let i = 0; i < 20; i++) {
    try {
      const answer = await fetch(`books?depth=${DEEP}`, { cache: "no-store" });
      const { feed: metrics, books } = await answer.json();
      isOpen = true;
      heard = seconds();
      begun = new Set(books.map((book) => book.market_ticker));
      setFeed(metrics);
      for (const book of books) {
        const market = marketOf(book.market_ticker);
        market.isGone = false;
        market.setBook(book);
        describe(book);
        const [last] = market.trades;
        if (book.last_trade !== null && (!last || last.time !== book.last_trade.time)) market.addTrade(book.last_trade);
      }
    } catch {
      isOpen = false;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  follow();
}

byId("filter").addEventListener("input", arrange);
addEventListener("hashchange", turnTo);
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  if (chosen()) {
    location.hash = "";
  } else {
    byId("filter").value = "";
    arrange();
  }
});
arrange();
setInterval(draw, 100);
follow();
