const find = name => element.querySelector('.' + name);
const make = (tag, text, about = {}) => Object.assign(document.createElement(tag), {textContent: text}, about);
let kind = 'hidden', at = [0, 0], shown = null, opened = null, data = null;
const word = text => text === '\n' ? '⏎' : text;
const percent = p => p >= .995 ? '100 %' : p < .01 ? '< 1 %' : Math.round(p * 100) + ' %';
const digits = v => { const n = Math.round(Math.abs(v) * 100);
  return n === 0 ? '0' : (v < 0 ? '−' : '') + (n >= 100 ? '1' : '.' + String(n).padStart(2, '0')); };
const share = v => { const part = Math.min(1, Math.max(0, v / (data.most || 1)));
  return part <= .6 ? part * 100 : 85 + (part - .6) / .4 * 15; };
function draw() {
  if (!find('map')) return;
  if (props.value === shown) return;
  shown = props.value;
  try { data = JSON.parse(props.value || 'null') } catch { data = null }
  element.style.display = data ? '' : 'none';
  opened = null; find('opened').textContent = '';
  if (data) { kind = data.kind || kind; lay(); }
}
function lay() {
  const kinds = find('kinds'), map = find('map'), values = data.effects[kind], layers = values[0].length;
  kinds.replaceChildren(...data.kinds.map(([name, label, about]) => {
    const b = make('button', label, {type: 'button', title: about});
    b.dataset.kind = name; b.setAttribute('aria-pressed', String(name === kind));
    return b;
  }));
  const about = data.kinds.find(each => each[0] === kind)[2];
  find('lead').textContent = `How much of “${data.answer}” comes back when ${about} is put back at one word of a sentence `
    + 'whose subject was made noise. Open a cell to read what the model would say there; choose a layer by its number.';
  map.setAttribute('aria-label', `Trace of ${data.prompt}: words by layers. Arrow keys move, Enter opens.`);
  map.classList.toggle('many', layers > 12);
  const head = document.createElement('tr'); head.setAttribute('role', 'row');
  const corner = make('th', 'layer'); corner.className = 'token'; corner.setAttribute('role', 'columnheader'); head.append(corner);
  for (let c = 0; c < layers; c++) {
    const th = make('th', c, {className: 'layer' + (c === data.layer ? ' chosen' : ''), tabIndex: -1});
    th.setAttribute('role', 'columnheader');
    th.setAttribute('aria-label', `Layer ${c}` + (c === data.layer ? ', chosen: it is written here' : ': press Enter to write here'));
    th.dataset.r = -1; th.dataset.c = c; head.append(th);
  }
  const rows = data.tokens.map((token, r) => {
    const tr = document.createElement('tr'); tr.setAttribute('role', 'row');
    const mine = data.subject.includes(r);
    const th = make('th', word(token).trim() || '␣', {className: 'token' + (mine ? ' subject' : '')});
    th.setAttribute('role', 'rowheader'); tr.append(th);
    for (let c = 0; c < layers; c++) {
      const v = values[r][c], size = share(v);
      const td = make('td', layers > 12 ? '' : digits(v) === '0' ? '' : digits(v), {className: size >= 85 ? 'high' : '', tabIndex: -1});
      td.style.setProperty('--v', size + '%'); td.setAttribute('role', 'gridcell');
      td.setAttribute('aria-label', `${word(token).trim()}, layer ${c}: ${digits(v)} comes back; would say ${word(data.lens[r][c][0][0]).trim()}`);
      td.dataset.r = r; td.dataset.c = c; tr.append(td);
    }
    return tr;
  });
  map.replaceChildren(head, ...rows);
  at = [Math.min(at[0], data.tokens.length - 1), Math.min(at[1], layers - 1)];
  const now = cell(...at); if (now) now.tabIndex = 0;
  mark();
}
const cell = (r, c) => element.querySelector(`.map [data-r="${r}"][data-c="${c}"]`);
function mark() {
  element.querySelectorAll('td.open').forEach(each => each.classList.remove('open'));
  if (opened) cell(...opened)?.classList.add('open');
}
function go(r, c, focus = true) {
  const next = cell(r, c);
  if (!next) return;
  const old = cell(...at); if (old) old.tabIndex = -1;
  at = [r, c]; next.tabIndex = 0;
  if (focus) next.focus();
}
function use(r, c) {
  if (r < 0) {
    data.layer = c;
    shown = JSON.stringify({...data, kind, picked: c});
    props.value = shown;
    lay(); cell(-1, c)?.focus();
    trigger('submit');
    return;
  }
  opened = [r, c]; mark();
  const place = find('opened'), list = document.createElement('ol');
  place.replaceChildren(make('span', `After layer ${c}, at “${word(data.tokens[r]).trim()}”, the model would say:`), list);
  for (const [token, p] of data.lens[r][c]) list.append(make('li', `${word(token).trim() || '␣'} ${percent(p)}`));
}
element.addEventListener('click', event => {
  const b = event.target.closest('button[data-kind]');
  if (b && data) { kind = b.dataset.kind; lay(); element.querySelector(`button[data-kind="${kind}"]`).focus(); return; }
  const place = event.target.closest('[data-r]');
  if (place && data) { go(Number(place.dataset.r), Number(place.dataset.c)); use(...at); }
});
element.addEventListener('keydown', event => {
  if (!data || !event.target.closest('[data-r]')) return;
  const [r, c] = at, last = data.effects[kind][0].length - 1;
  const to = {ArrowUp: [r - 1, c], ArrowDown: [r + 1, c], ArrowLeft: [r, c - 1], ArrowRight: [r, c + 1], Home: [r, 0], End: [r, last]}[event.key];
  if (to) go(...to);
  else if (event.key === 'Enter' || event.key === ' ') use(r, c);
  else if (event.key === 'Escape') { opened = null; mark(); find('opened').textContent = ''; }
  else return;
  event.preventDefault();
});
watch('value', draw);
draw();
