// What Node's memjs says of a server that wants the password testpass of testuser. Usage: node auth.js steps SERVER
'use strict'
const { inspect } = require('util')
const memjs = require('memjs')

const [, server] = process.argv.slice(2)
const show = (step, ...values) => console.log(`${step}: ${values.map(v => inspect(v, { breakLength: Infinity })).join(' ')}`)
const said = async promise => promise.catch(e => e.message)

async function steps() {
  for (const [name, username, password] of [['right', 'testuser', 'testpass'], ['wrong', 'testuser', 'nonsense'], ['nobody', 'nobody', 'testpass']]) {
    const m = memjs.Client.create(server, { username, password, timeout: 20, retries: 1, logger: { log() {} } })
    show(`${name} set`, await said(m.set(`k-${name}`, 'value', { expires: 100 })))
    const got = await said(m.get(`k-${name}`))
    show(`${name} get`, got && got.value ? got.value.toString() : got)
    m.close()
  }
  console.log('done')
  process.exit(0) // a client that was refused goes on trying
}

steps()
