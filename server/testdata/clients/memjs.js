// What Node's memjs says of servers. Usage: node memjs.js steps SERVER, or node memjs.js spread SERVER SERVER
'use strict'
const { inspect } = require('util')
const memjs = require('memjs')

const [mode, ...servers] = process.argv.slice(2)
const quiet = { log() {} } // what it logs, it says in its errors, too

// The types of JavaScript, as an application's serializer would have them.
const typed = {
  serialize(opcode, value, extras) {
    return extras.length === 8 ? { value: JSON.stringify(value), extras: Buffer.concat([Buffer.from([0, 0, 1, 4]), extras.slice(4)]) } : { value, extras }
  },
  deserialize(opcode, value, extras) {
    return { value: extras.readUInt32BE(0) === 0x104 ? JSON.parse(value) : value, extras }
  }
}

const client = options => memjs.Client.create(servers.join(','), { timeout: 20, retries: 1, logger: quiet, ...options })
const show = (step, ...values) => console.log(`${step}: ${values.map(v => inspect(v, { breakLength: Infinity })).join(' ')}`)
const said = async promise => promise.catch(e => e.message)
const text = async (m, key) => {
  const { value } = await m.get(key)
  return value && value.toString()
}

async function spread() {
  const m = client()
  for (let i = 0; i < 200; i++) await m.set(`hash:${i}`, `value ${i}`)
  const all = await Promise.all([...Array(200).keys()].map(i => text(m, `hash:${i}`)))
  show('hash', all.every((v, i) => v === `value ${i}`), await m.delete('hash:8'), await text(m, 'hash:8'))
  m.close()
}

async function steps() {
  const m = client()
  show('flush', await m.set('gone', '1'), Object.values(await m.flush()), await text(m, 'gone'))

  const bytes = Buffer.from([...Array(256).keys(), 13, 10, 69, 78, 68, 13, 10])
  for (const [key, value] of Object.entries({ text: 'text', empty: '', unicode: 'größer ☃ 語', bytes })) {
    show(`set ${key}`, await m.set(key, value), (await m.get(key)).value.equals(Buffer.from(value)), (await m.get(key)).flags)
  }
  const t = client({ serializer: typed })
  for (const [key, value] of Object.entries({ int: 42, float: 1.5, yes: true, no: false, nil: null, list: [1, 'two', [null]], map: { a: { b: 'ü' } } })) {
    show(`set ${key}`, await t.set(key, value), (await t.get(key)).value, (await m.get(key)).flags)
  }
  for (const size of [1, 2048, 100000, 1000000]) {
    show(`large ${size}`, await m.set(`large-${size}`, Buffer.alloc(size, 'ab')), (await m.get(`large-${size}`)).value.equals(Buffer.alloc(size, 'ab')))
  }
  show('too large', await said(m.set('text', Buffer.alloc(2000000))), await text(m, 'text'), await m.set('text', 'text'))
  show('get nothing', await m.get('none'))

  const many = [...Array(300).keys()]
  show('many at once', (await Promise.all(many.map(i => m.set(`many-${i}`, `value ${i}`)))).every(Boolean))
  show('many back', (await Promise.all(many.map(i => text(m, `many-${i}`)))).every((v, i) => v === `value ${i}`))

  show('add', await m.add('new', '1'), await m.add('new', '2'), await text(m, 'new'))
  show('replace', await m.replace('new', '3'), await text(m, 'new'), await m.replace('none', '3'), await text(m, 'none'))
  show('delete', await m.delete('new'), await m.delete('new'), await text(m, 'new'))
  await m.set('s', 'b')
  show('append, prepend', await m.append('s', 'c'), await m.prepend('s', 'a'), await text(m, 's'))
  show('append to nothing', await said(m.append('none', 'c')), await said(m.prepend('none', 'c')))

  show('increment', await m.increment('n', 5, { initial: 10 }), await m.increment('n', 5, { initial: 10 }), await m.decrement('n', 7, {}), await m.decrement('n', 100, {}))
  show('decrement', await m.decrement('down', 1, { initial: 7, expires: 100 }), await m.decrement('down', 1, { initial: 7 }), await text(m, 'down'))
  show('increment from nothing', await m.increment('zero', 1, {}), await text(m, 'zero'))
  await m.set('n', '18446744073709551615')
  show('wrap', await m.increment('n', 2, {}), await text(m, 'n'))
  await m.set('n', '99')
  show('wider, narrower', await m.increment('n', 1, {}), await m.decrement('n', 1, {}), await text(m, 'n'))
  show('increment text', await said(m.increment('text', 1, {})), await said(m.decrement('text', 1, {})), await text(m, 'text'))

  await m.set('over', 'x')
  show('touch', await m.touch('s', 1000), await m.touch('none', 1000), await m.touch('over', 3000000), await text(m, 'over'))
  show('over', await m.set('over', 'x', { expires: 3000000 }), await text(m, 'over'), await m.add('over', 'y', { expires: 2000 }), await text(m, 'over'))
  for (const n of [249, 250]) show(`key of ${n}`, await m.set('k'.repeat(n), `${n}`), await text(m, 'k'.repeat(n)))
  show('odd keys', await m.set('schlüssel', 'ü'), await text(m, 'schlüssel'), await m.set('with blank', 'x'), await text(m, 'with blank'))
  for (const n of [251, 1000]) { // a connection of its own: the server may end it
    const other = client()
    show(`key of ${n}`, await said(other.set('k'.repeat(n), `${n}`)))
    other.close()
  }

  const stats = group => new Promise((resolve, reject) => m.statsWithKey(group, (e, _, all) => e ? reject(e) : resolve(all)))
  show('stats', Object.keys(await stats('')).sort().join(' '))
  show('stats settings', Object.keys(await stats('settings')).sort().join(' '))
  show('stats items, slabs', Object.keys(await stats('items')).length > 0, Object.keys(await stats('slabs')).length > 0)
  show('stats reset', await stats('reset'))
  show('no such stats', await said(stats('nonsense')))
  m.quit()
  t.close()
}

({ steps, spread })[mode]().then(() => console.log('done')).catch(e => {
  console.error(e)
  process.exit(1)
})
