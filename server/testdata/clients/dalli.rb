# What Ruby's dalli says of servers, by each protocol that it knows: binary, meta, or both, by version.
# Usage: dalli.rb steps SERVER, or dalli.rb spread SERVER SERVER
require 'dalli'

Dalli.logger.level = Logger::FATAL
mode, *$servers = ARGV
PROTOCOLS = %i[binary meta].select { |name| Dalli::Protocol.const_defined?(name.capitalize) }
# Version 3 reads a value by meta up to its first line end.
LINES = PROTOCOLS.include?(:meta) && Dalli::VERSION.start_with?('3.')

def client(options = {})
  options = { protocol: $protocol }.merge(options) if PROTOCOLS.size > 1
  Dalli::Client.new($servers, { socket_timeout: 20 }.merge(options))
end

def show(step, *values)
  puts "#{step}: #{values.map(&:inspect).join(' ')}"
end

# What a block returns, or what it raises.
def said
  yield
rescue Dalli::DalliError, ArgumentError => e
  "#{e.class}: #{e.message}"
end

# A CAS is a number that differs from server to server.
def unique(value)
  value.is_a?(Integer) ? value.positive? : value
end

def spread
  { 'crc' => {}, 'namespace' => { namespace: 'ns' } }.each do |name, options|
    m = client(options)
    keys = (0...200).map { |i| "#{name}-#{$protocol}:#{i}" }
    keys.each { |key| m.set(key, "value of #{key}") }
    show name, m.get_multi(keys).size, m.get(keys[7]), m.delete(keys[8]), m.get_multi(keys).size
  end
end

Point = Struct.new(:x, :y)

def steps
  m = client
  show 'flush', unique(m.set('gone', 1)), m.flush, m.get('gone')

  values = { 'text' => 'text', 'empty' => '', 'unicode' => 'größer ☃ 語', 'bytes' => "\0\r\n\xff END\r\n".b, 'int' => 42, 'negative' => -7,
             'big' => 2**70, 'float' => 1.5, 'true' => true, 'false' => false, 'nil' => nil, 'symbol' => :word, 'list' => [1, 'two', [3.5, nil]],
             'map' => { 'a' => 1, b: [2] }, 'object' => Point.new(1, 2), 'time' => Time.at(1_700_000_000).utc }
  values.delete('bytes') if LINES
  values.each { |key, value| show "set #{key}", m.set(key, value).positive?, m.get(key) == value, m.get(key).class }
  values.each { |key, value| show "raw #{key}", m.set("raw-#{key}", value.to_s, nil, raw: true).positive?, m.get("raw-#{key}") }

  [4087, 4088, 4089, 4090, 4096, 100_000].each do |size| # on both sides of the least size that is compressed
    text = 'x' * size
    show "large #{size}", m.set("large-#{size}", text).positive?, m.get("large-#{size}") == text
  end
  noise = Random.new(1).bytes(300_000)
  noise.tr!("\r", ' ') if LINES
  show 'noise', m.set('noise', noise).positive?, m.get('noise') == noise
  plain = client(compress: false)
  show 'not compressed', plain.set('plain', 'y' * 100_000).positive?, plain.get('plain').size, m.get('plain').size
  show 'too large', said { plain.set('plain', 'z' * 1_048_500) }, plain.get('plain')&.size
  show 'too large for the client', said { plain.set('text', 'z' * 2_000_000) }, m.get('text')
  m.set('text', 'text')

  many = (0...300).to_h { |i| ["many-#{i}", "value #{i}"] }
  m.multi { many.each { |key, value| m.set(key, value) } }
  show 'multi set', m.get_multi(many.keys) == many
  show 'multi get', m.get_multi('many-1', 'none', 'many-2'), m.get_multi(['none'])
  show 'multi with cas', m.get_multi_cas('many-3', 'none').transform_values { |value, cas| [value, unique(cas)] }
  m.multi do
    m.add('many-1', 'not added')
    m.add('quiet', 'added')
    m.replace('none', 'not replaced')
    m.replace('many-2', 'replaced')
    m.delete('many-3')
    m.delete('none')
  end
  show 'quiet', m.get_multi('many-1', 'quiet', 'many-2', 'many-3', 'none')

  show 'add', unique(m.add('new', 1)), unique(m.add('new', 2)), m.get('new')
  show 'replace', unique(m.replace('new', 3)), m.get('new'), unique(m.replace('none', 3)), m.get('none')
  show 'fetch', m.fetch('fetched') { 'made' }, m.fetch('fetched') { 'made again' }
  nils = client(cache_nils: true)
  show 'fetch nil', nils.fetch('nothing') { nil }, nils.fetch('nothing') { 'made' }
  show 'delete', m.delete('new'), m.delete('new'), m.get('new')

  m.set('swap', 'one')
  value, cas = m.get_cas('swap')
  show 'get with cas', value, unique(cas), m.get_cas('none')
  show 'cas', unique(m.set_cas('swap', 'two', cas)), m.get('swap')
  show 'cas again', unique(m.set_cas('swap', 'three', cas)), m.get('swap')
  show 'cas of nothing', unique(said { m.set_cas('none', 'x', cas) })
  _, cas = m.get_cas('swap')
  show 'replace by cas', unique(m.replace_cas('swap', 'four', cas)), unique(m.replace_cas('swap', 'five', cas)), m.get('swap')
  show 'block', unique(m.cas('swap') { |old| "#{old}+" }), m.cas('none') { 'x' }, m.get('swap')
  show 'block, conflict', m.cas('swap') { |_| client.set('swap', 'other') && 'mine' }, m.get('swap')
  show 'block always', unique(m.cas!('always') { |old| old.inspect }), m.get('always')
  _, cas = m.get_cas('swap')
  m.set('swap', 'six')
  show 'delete by cas', m.delete_cas('swap', cas), m.delete_cas('swap', m.get_cas('swap')[1]), m.get('swap')

  show 'incr nothing', m.incr('none'), m.get('none')
  show 'incr from', m.incr('n', 5, nil, 10), m.incr('n', 5, nil, 10), m.incr('n'), m.decr('n', 6), m.decr('n', 100)
  show 'decr from', m.decr('down', 1, 60, 7), m.decr('down', 1, 60, 7)
  m.set('n', '18446744073709551615', nil, raw: true)
  show 'wrap', m.incr('n', 2), m.decr('n', 2), m.get('n')
  m.set('n', '99', nil, raw: true)
  show 'wider, narrower', m.incr('n'), m.decr('n'), m.get('n'), m.incr('n', 5)
  show 'incr text', said { m.incr('raw-text') }, said { m.decr('list') }

  m.set('s', 'b', nil, raw: true)
  show 'append, prepend', m.append('s', 'c'), m.prepend('s', 'a'), m.get('s')
  show 'append to nothing', m.append('none', 'c'), m.prepend('none', 'a'), m.get('none')

  show 'touch', m.touch('s', 1000), m.touch('none', 1000), m.get('s')
  show 'gat', m.gat('s', 2000), m.gat('none', 2000)
  %w[over-1 over-2 over-3].each { |key| m.set(key, 'x') }
  show 'over', m.set('over', 'x', -1).positive?, m.get('over'), m.touch('over-1', -1), m.get('over-1'), m.gat('over-2', -1), m.get('over-2')
  show 'long', m.set('long', 'x', 40 * 86_400).positive?, m.get('long'), m.touch('over-3', Time.now.to_i + 3000), m.get('over-3')

  ns = client(namespace: 'ns')
  show 'namespace', ns.set('k', 'v').positive?, ns.get('k'), ns.get_multi('k', 'none'), m.get('ns:k'), m.get('k')
  show 'namespace, counter', ns.incr('n', 1, nil, 3), m.get('ns:n').to_i
  [249, 250, 251, 1000].each { |n| show "key of #{n}", m.set('k' * n, n).positive?, m.get('k' * n), ns.set('k' * n, -n).positive?, ns.get('k' * n) }
  show 'odd keys', said { m.set('', 1) }, m.set('schlüssel', 1).positive?, m.get('schlüssel'), m.get_multi('schlüssel').size

  show 'version', m.version.values
  show 'stats', m.stats.values[0].keys.sort
  show 'stats settings', %w[maxbytes maxconns tcpport evictions cas_enabled item_size_max].all? { |name| m.stats(:settings).values[0].key?(name) }
  show 'stats items, slabs', m.stats(:items).values[0].size.positive?, m.stats(:slabs).values[0].size.positive?
  show 'reset stats', m.reset_stats, m.stats.values[0]['get_hits'].to_i
  show 'again', m.close, m.get('s')
end

PROTOCOLS.each do |protocol|
  $protocol = protocol
  puts "== #{protocol}"
  send(mode)
end
puts 'done'
