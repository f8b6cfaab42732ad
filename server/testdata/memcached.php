<?php
// What php-memcached can do, over the text protocol or the binary one, printed step by step.
// Usage: php memcached.php HOST PORT text|binary
[, $host, $port, $protocol] = $argv;
$binary = $protocol === 'binary';
$m = new Memcached();
$m->setOption(Memcached::OPT_BINARY_PROTOCOL, $binary);
$m->setOption(Memcached::OPT_TCP_NODELAY, true);
$m->addServer($host, (int)$port);

function show(string $step, mixed ...$values): void {
    global $m;
    echo $step, ': ', implode(' ', array_map(fn($v) => json_encode($v, JSON_PARTIAL_OUTPUT_ON_ERROR), $values)), ' ', $m->getResultCode(), "\n";
}

show('flush', $m->flush());

// Types keep through flags.
class Point { public function __construct(public int $x, public int $y) {} }
$types = ['string' => 'text', 'empty' => '', 'int' => 42, 'negative' => -7, 'float' => 1.5, 'true' => true, 'false' => false, 'null' => null,
    'list' => [1, 'two', [3.5]], 'map' => ['a' => 1], 'object' => new Point(1, 2), 'bytes' => "\0\r\n\xff END\r\n"];
foreach ($types as $name => $value) {
    show("set $name", $m->set($name, $value));
    $got = $m->get($name);
    show("get $name", $got == $value, gettype($got));
}
show('get nothing', $m->get('nothing'));

// Large values are compressed; without that they go as they are.
$large = str_repeat('all work and no play ', 5000);
show('set large', $m->set('large', $large));
show('get large', $m->get('large') === $large);
$noise = ''; // does not compress
for ($i = 0; strlen($noise) < 300000; $i++) { $noise .= md5((string)$i, true); }
show('set noise', $m->set('noise', $noise));
show('get noise', $m->get('noise') === $noise);
$m->setOption(Memcached::OPT_COMPRESSION, false);
show('set plain', $m->set('plain', $large));
show('get plain', $m->get('plain') === $large);
show('set too large', $m->set('plain', str_repeat('x', 2000000)));
show('get after too large', $m->get('plain'));

// Many at once.
$many = [];
for ($i = 0; $i < 500; $i++) { $many["key-$i"] = "value $i"; }
show('setMulti', $m->setMulti($many, 100));
show('getMulti', $m->getMulti(array_keys($many)) === $many);
show('getMulti, some', $m->getMulti(['key-1', 'none-1', 'key-2', 'none-2']));
show('getMulti, order kept', array_keys($m->getMulti(['key-9', 'none', 'key-3'], Memcached::GET_PRESERVE_ORDER)));
show('getDelayed', $m->getDelayed(['key-5', 'none', 'key-6'], true));
$fetched = array_map(fn($i) => [$i['key'], $i['value'], $i['cas'] > 0], $m->fetchAll());
sort($fetched);
show('fetchAll', $fetched);
show('deleteMulti', $m->deleteMulti(['key-1', 'none', 'key-2']));
show('getMulti after', $m->getMulti(['key-1', 'key-2', 'key-3']));

// Storage commands.
show('add', $m->add('new', 1), $m->add('new', 2), $m->get('new'));
show('replace', $m->replace('new', 3), $m->get('new'), $m->replace('absent', 3));
$m->set('text', 'b');
show('append', $m->append('text', 'c'), $m->prepend('text', 'a'), $m->get('text'));
show('append nothing', $m->append('absent', 'x'));
show('delete', $m->delete('new'), $m->delete('new'));

// Compare and swap.
$m->set('swap', 'one');
$item = $m->get('swap', null, Memcached::GET_EXTENDED);
show('get extended', $item['value'], $item['flags'], $item['cas'] > 0);
show('cas', $m->cas($item['cas'], 'swap', 'two'), $m->get('swap'));
show('cas again', $m->cas($item['cas'], 'swap', 'three'));
show('cas after', $m->get('swap'));
show('cas nothing', $m->cas($item['cas'], 'absent', 'x'));

// Counters.
show('increment nothing', $m->increment('count'));
show('set count', $m->set('count', 5));
show('increment', $m->increment('count'), $m->increment('count', 10), $m->decrement('count', 6), $m->decrement('count', 100));
show('increment text', $m->increment('text'));
if ($binary) {
    show('increment from', $m->increment('from', 5, 100, 60), $m->increment('from', 5, 100, 60), $m->decrement('down', 1, 7), $m->decrement('down', 1, 7));
}

// Times to live.
show('touch', $m->set('brief', 1, 1000), $m->touch('brief', 2000), $m->get('brief'), $m->touch('absent', 10));
show('set over', $m->set('over', 1, time() - 10000));
show('get over', $m->get('over'));

// Keys.
$m->setOption(Memcached::OPT_PREFIX_KEY, 'prefix:');
show('prefix', $m->set('k', 'v'), $m->get('k'), $m->getMulti(['k']));
$m->setOption(Memcached::OPT_PREFIX_KEY, '');
show('without prefix', $m->get('prefix:k'));
show('longest key', $m->set(str_repeat('k', 250), 1), $m->get(str_repeat('k', 250)));

// The server.
show('version', array_values($m->getVersion()));
$stats = array_values($m->getStats())[0];
show('stats', isset($stats['curr_items'], $stats['cmd_get'], $stats['bytes'], $stats['limit_maxbytes']), $stats['pointer_size']);
show('flush', $m->flush(), $m->get('text'));
show('flush later', $m->set('k', 1), $m->flush(1000), $m->get('k'));
show('quit', $m->quit());
