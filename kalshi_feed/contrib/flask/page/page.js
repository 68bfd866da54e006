// Live ladders: reads the server-sent events of "stream" (or polls "books" where the server has no threads for streams) and
// draws them. No library, no build. All text goes through textContent, all styles through the CSSOM: a strict policy holds.
"use strict";

const DEPTH = 9; // levels drawn of each side
const WINDOW = 300; // seconds of the price line
const POINTS = 1500; // of the price line, kept
const TRADES = 50; // kept of each market
const SVG = "http://www.w3.org/2000/svg";
const LOST = "SERVER LOST";

const byId = (id) => document.getElementById(id);
const seconds = () => performance.now() / 1000;
const price = (number) => (Number.isFinite(number) ? number.toFixed(4) : "–");
const size = (text) => Number(text).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const milliseconds = (value) => (value === null ? "–" : (value * 1000).toFixed(value < 0.01 ? 2 : 0));

function ageText(age) {
  if (age === null) return "–";
  if (age < 60) return `${age.toFixed(1)} s`;
  return age < 3600 ? `${Math.floor(age / 60)} min ${Math.floor(age % 60)} s` : `${Math.floor(age / 3600)} h ${Math.floor((age % 3600) / 60)} min`;
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
    this.isAsk = isAsk;
    this.rows = [];
    for (let i = 0; i < DEPTH; i++) {
      const row = body.insertRow(isAsk ? 0 : -1);
      const cells = Array.from({ length: 4 }, () => row.insertCell());
      const bar = document.createElement("div");
      const text = document.createElement("span");
      bar.className = "bar";
      text.className = "size";
      cells[isAsk ? 3 : 0].append(bar, text);
      this.rows.push({ bar, text, yes: cells[1], no: cells[2] });
    }
  }

  fill(levels, largest) {
    this.rows.forEach((row, i) => {
      const level = levels[i];
      const own = level ? Number(level[0]) : NaN;
      put(row.text, level ? size(level[1]) : "");
      put(row.yes, level ? price(this.isAsk ? 1 - own : own) : "");
      put(row.no, level ? price(this.isAsk ? own : 1 - own) : "");
      row.bar.style.width = level ? `${Math.max(1, (100 * Number(level[1])) / largest)}%` : "0";
    });
  }
}

function tradeRow(side, ...texts) {
  const row = document.createElement("li");
  row.className = side;
  for (const text of texts) row.append(Object.assign(document.createElement("b"), { textContent: text }));
  return row;
}

class Market {
  constructor(ticker) {
    this.ticker = ticker;
    this.book = null;
    this.at = 0; // when the book came, by this page's clock
    this.prices = []; // [Unix time, mid of yes, whether it was not known for a while before]
    this.isBroken = false;
    this.trades = []; // newest first
    this.isNew = false;
    const root = byId("market").content.firstElementChild.cloneNode(true);
    this.root = root;
    this.part = (name) => root.querySelector(name);
    this.asks = new Side(this.part(".asks"), true);
    this.bids = new Side(this.part(".bids"), false);
    put(this.part(".ticker"), ticker);
    root.dataset.market = ticker;
    byId("markets").append(root);
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

  addTrade(trade) {
    this.trades.unshift(trade);
    this.trades.length = Math.min(this.trades.length, TRADES);
    this.isNew = true;
  }

  draw(lost) {
    if (this.book === null) return;
    const status = lost ? "STALE" : this.book.status;
    put(this.part(".status"), status);
    mark(this.part(".status"), "is", status);
    mark(this.root, "live", String(status === "LIVE"));
    const age = this.book.age === null ? null : this.book.age + seconds() - this.at;
    put(this.part(".age"), this.book.error || age === null ? "" : `changed ${ageText(age)} ago`);
    put(this.part(".error"), this.book.error ?? "");
    this.drawChart(status === "LIVE");
    if (this.isNew) {
      this.isNew = false;
      this.drawLadder();
      this.drawTrades();
    }
  }

  drawLadder() {
    const bids = this.book.yes.slice(0, DEPTH);
    const asks = this.book.no.slice(0, DEPTH);
    const sizes = (levels) => levels.map((level) => Number(level[1]));
    const largest = Math.max(...sizes(bids), ...sizes(asks), 0.01);
    this.bids.fill(bids, largest);
    this.asks.fill(asks, largest);
    const sum = (levels) => sizes(levels).reduce((total, one) => total + one, 0);
    const [bid, ask] = [sum(bids), sum(asks)];
    const mid = this.book.mid === null ? NaN : Number(this.book.mid);
    put(this.part(".mid"), price(mid));
    put(this.part(".no-mid"), price(1 - mid));
    put(this.part(".spread"), this.book.spread === null ? "one side is empty" : `spread ${this.book.spread}`);
    put(this.part(".imbalance"), bid + ask ? `imb. ${((bid - ask) / (bid + ask)).toFixed(2).replace("-", "−")}` : "");
  }

  drawTrades() {
    const list = this.part(".trades");
    list.replaceChildren(
      tradeRow("", "traded at", "taker", "yes", "contracts"),
      ...this.trades.slice(0, 12).map((trade) =>
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
    const least = 0.02 - (high - low); // a line that does not move is drawn in the middle, and a tick is no mountain
    if (least > 0) [low, high] = [low - least / 2, high + least / 2];
    const start = Math.min(points[0][0], now - 10);
    const x = (time) => (314 * (time - start)) / (now - start);
    const y = (value) => 138 - (126 * (value - low)) / (high - low);
    let [line, area, from] = ["", "", ""];
    points.forEach(([time, mid, isBroken], i) => {
      const [left, top] = [x(time).toFixed(1), y(mid).toFixed(1)];
      if (i === 0 || isBroken) {
        area += from && `V150H${from}Z`;
        from = left;
      }
      const step = from === left ? `M${left} ${top}` : `H${left}V${top}`;
      line += step;
      area += step;
    });
    const end = isLive ? "H314" : ""; // what the price is now nobody knows while the book is not LIVE
    this.part(".line").setAttribute("d", line + end);
    this.part(".area").setAttribute("d", `${area}${end}V150H${from}Z`);
    const last = this.trades[0];
    const level = last ? y(Math.min(high, Math.max(low, Number(last.yes_price)))).toFixed(1) : "-9";
    this.part(".last-price").setAttribute("y1", level);
    this.part(".last-price").setAttribute("y2", level);
    this.part(".dots").replaceChildren(
      ...trades.map((trade) => {
        const dot = document.createElementNS(SVG, "path"); // of no length with round ends: stays round when stretched
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
let feed = null; // the last figures
let heard = seconds(); // when anything last came
let moved = -Infinity; // when a book or a trade last came
let isOpen = false;
let source = null;

function marketOf(ticker) {
  if (!markets.has(ticker)) {
    byId("empty")?.remove();
    markets.set(ticker, new Market(ticker));
  }
  return markets.get(ticker);
}

function setFeed(figures) {
  feed = figures;
  feed.at = seconds();
}

function drawFeed(lost) {
  const health = feed?.health ?? { status: "down", reasons: [] };
  const state = lost ? LOST : feed === null ? "CONNECTING" : feed.state === "CONNECTED" && health.status === "degraded" ? "DEGRADED" : feed.state;
  put(byId("state"), state);
  mark(byId("state"), "is", state);
  put(byId("reason"), lost ? "the page hears nothing from its server and tries again" : health.reasons.join("; "));
  byId("reason").title = byId("reason").textContent;
  if (feed !== null) {
    const empty = byId("empty");
    if (empty && feed.state === "CONNECTED") put(empty, "No books are subscribed to: set KALSHI_TICKERS");
    put(byId("rate"), feed.rate_1s.toFixed(0));
    put(byId("latency"), `${milliseconds(feed.processing_latency_p50)} / ${milliseconds(feed.processing_latency_p99)} ms`);
    put(byId("message-age"), feed.last_message_age === null ? "–" : ageText(Math.min(feed.last_message_age + seconds() - feed.at, seconds() - moved)));
    put(byId("gaps"), String(feed.gaps));
    put(byId("reconnects"), String(feed.reconnects));
  }
}

function draw() {
  const lost = !isOpen || seconds() - heard > 3 * (feed?.heartbeat ?? 2) + 1;
  if (lost && isOpen) follow(); // a connection that is open and says nothing is a dead one
  drawFeed(lost && feed !== null);
  for (const market of markets.values()) market.draw(lost);
}

function hear(kind, handle) {
  source.addEventListener(kind, (event) => {
    heard = seconds();
    if (kind !== "feed") moved = heard;
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
  };
  source.onerror = () => {
    isOpen = false; // the browser tries again by itself, unless the answer was no stream
    if (source.readyState === EventSource.CLOSED) poll();
  };
  hear("history", (data) => marketOf(data.market_ticker).setHistory(data));
  hear("book", (data) => marketOf(data.market_ticker).setBook(data));
  hear("trade", (data) => marketOf(data.market_ticker).addTrade(data));
  hear("feed", setFeed);
}

// Where there are no streams: once a second, and now and then a try whether there are.
async function poll() {
  for (let i = 0; i < 20; i++) {
    try {
      const answer = await fetch(`books?depth=${DEPTH}`, { cache: "no-store" });
      const { feed: figures, books } = await answer.json();
      isOpen = true;
      heard = seconds();
      setFeed(figures);
      for (const book of books) {
        const market = marketOf(book.market_ticker);
        market.setBook(book);
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

setInterval(draw, 100);
follow();
