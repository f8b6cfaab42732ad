<?php
// What php-memcache says of servers.
// Usage: php -d memcache.protocol=ascii|binary memcache.php steps SERVER, or the same with spread SERVER SERVER
[, $mode] = $argv;
$servers = array_map(fn($s) => explode(':', $s), array_slice($argv, 2));
$binary = ini_get('memcache.protocol') === 'binary';

class Point { public function __construct(public int $x, public int $y) {} }

function client(string $class = 'Memcache', bool $persistent = false): Memcache|MemcachePool {
    global $servers;
    $m = new $class();
    foreach ($servers as [$host, $port]) {
        // It takes a negative answer for a failure of the server: it is to try that one again at once.
        $class === 'Memcache' ? $m->addServer($host, (int)$port, $persistent, 1, 20, 0) : $m->addServer($host, (int)$port, 0, $persistent, 1, 20, 0);
    }
    return $m;
}

$notices = [];
set_error_handler(function (int $level, string $text) use (&$notices) {
    if ($level !== E_DEPRECATED) {
        // The address differs, and the text with code 0 comes from memory that the library has already given back.
        $notices[] = preg_replace(['/Server \S+ \(tcp \d+, udp \d+\)/', '/failed with: .* \(0\)$/s'], ['server', 'failed'], $text);
    }
    return true;
});

// show prints a step with what came of it and what the library complained of.
function show(string $step, mixed ...$values): void {
    global $notices;
    $text = fn($v) => json_encode($v, JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_PRESERVE_ZERO_FRACTION);
    echo $step, ': ', implode(' ', array_map($text, $values)), $notices === [] ? '' : ' (' . implode('; ', $notices) . ')', "\n";
    $notices = [];
}

function steps(): void {
    global $binary, $servers;
    $m = client();
    show('flush', $m->set('gone', 1), $m->flush(), $m->get('gone'));

    // Types keep through flags.
    foreach (['string' => 'text', 'empty' => '', 'unicode' => 'größer ☃ 語', 'int' => 42, 'negative' => -7, 'float' => 1.5, 'true' => true, 'false' => false, 'null' => null,
        'list' => [1, 'two', [3.5, null]], 'map' => ['a' => 1], 'object' => new Point(1, 2), 'bytes' => "\0\r\n\xff END\r\n"] as $name => $value) {
        $flags = $cas = null;
        show($name, $m->set($name, $value), ($got = $m->get($name, $flags, $cas)) == $value, get_debug_type($got), $flags, $cas > 0);
    }
    show('own flags', $m->set('flags', 'x', 0x50000), $m->get('flags', $flags), $flags, $m->get('nothing', $flags));

    // Compression is asked for by a flag, or by a threshold.
    foreach ([100, 19999, 20000, 20001, 100000] as $size) {
        $text = substr(str_repeat('all work and no play ', 5000), 0, $size);
        show("large $size", $m->set("large-$size", $text), $m->get("large-$size", $flags) === $text, $flags,
            $m->set("squeezed-$size", $text, MEMCACHE_COMPRESSED), $m->get("squeezed-$size", $flags) === $text, $flags);
    }
    $m->setCompressThreshold(1000, 0.2);
    show('threshold', $m->set('threshold', str_repeat('x', 999)), strlen($m->get('threshold', $flags)), $flags, $m->set('threshold', str_repeat('x', 1001)), strlen($m->get('threshold', $flags)), $flags);
    mt_srand(1);
    $noise = '';
    while (strlen($noise) < 300000) { $noise .= pack('N', mt_rand()); }
    show('noise', $m->set('noise', $noise, MEMCACHE_COMPRESSED), $m->get('noise', $flags) === $noise, $flags);
    $m->setCompressThreshold(0);
    show('large', $m->set('large', str_repeat('y', 1000000)), strlen($m->get('large')));
    show('too large', $m->set('large', str_repeat('z', 2000000)), $m->get('large'), $m->set('large', 'small'));

    // Many at once.
    $many = [];
    for ($i = 0; $i < 300; $i++) { $many["key-$i"] = "value $i"; }
    show('set many', $m->set($many), $m->get(array_keys($many)) == $many);
    $flags = $cas = null;
    $got = $m->get(['key-1', 'none', 'key-2'], $flags, $cas);
    ksort($got);
    ksort($flags);
    show('get many', $got, $flags, array_map(fn($c) => $c > 0, $cas), $m->get(['none']));
    show('add many', $m->add(['key-1' => 'x', 'added' => 'y']), $m->get('key-1'), $m->get('added'));
    show('delete many', $m->delete(['key-3', 'none']), $m->get('key-3'));

    // Storage commands.
    show('add', $m->add('new', 1), $m->add('new', 2), $m->get('new'));
    show('replace', $m->replace('new', 3), $m->get('new'), $m->replace('absent', 3));
    $m->set('text', 'b');
    show('append', $m->append('text', 'c'), $m->prepend('text', 'a'), $m->get('text'), $m->append('absent', 'x'), $m->prepend('absent', 'x'));
    show('delete', $m->delete('new'), $m->delete('new'), $m->delete('key-4', 0));
    $m->set('swap', 'one');
    $flags = $cas = null;
    $m->get('swap', $flags, $cas);
    show('cas', $m->cas('swap', 'two', 0, 0, $cas), $m->get('swap'), $m->cas('swap', 'three', 0, 0, $cas), $m->get('swap'), $m->cas('absent', 'x', 0, 0, $cas));

    // Counters.
    show('increment nothing', $m->increment('absent'), $m->decrement('absent'), $m->increment('from', 5, 100), $m->increment('from', 5, 100), $m->decrement('down', 1, 7));
    $m->set('count', 5);
    show('increment', $m->increment('count'), $m->increment('count', 10), $m->decrement('count', 6), $m->decrement('count', 100), $m->get('count'));
    $m->set('count', '18446744073709551615');
    show('wrap', $m->increment('count', 2), $m->get('count'));
    $m->set('count', 99);
    show('wider, narrower', $m->increment('count'), $m->decrement('count'), $m->get('count'), $m->increment('count', 5));
    show('increment text', $m->increment('text'), $m->decrement('list'), $m->get('text'));

    // Times to live.
    show('over', $m->set('over', 1, 0, time() - 10000), $m->get('over'), $m->add('over', 2, 0, 3000), $m->get('over'), $m->set('negative', 1, 0, -1), $m->get('negative'));

    // Keys, which this library cuts and cleans by itself.
    foreach ([249, 250, 251, 1000] as $n) { show("key of $n", $m->set(str_repeat('k', $n), $n), $m->get(str_repeat('k', $n))); }
    show('odd keys', $m->set('schlüssel', 1), $m->get('schlüssel'), $m->set('with blank', 2), $m->get('with blank'), $m->get('with_blank'), $m->set('', 3));

    // Connections.
    [$host, $port] = $servers[0];
    $lasting = client('Memcache', true);
    show('persistent', $lasting->set('lasting', 1), $lasting->close(), client('Memcache', true)->get('lasting'));
    $direct = new Memcache();
    show('connect', $direct->connect($host, (int)$port, 20), $direct->get('lasting'), $direct->close());
    $direct = new Memcache();
    show('pconnect', $direct->pconnect($host, (int)$port, 20), $direct->get('lasting'));
    $pool = client('MemcachePool');
    show('pool', $pool->set('pooled', [1]), $pool->get('pooled'), $pool->getServerStatus($host, (int)$port));
    show('functions', memcache_set($m, 'function', 'x'), memcache_get($m, 'function'));

    // The server.
    $names = function (array|bool $all): array|bool { if (is_array($all)) { $all = array_keys($all); sort($all); } return $all; };
    show('version', $m->getVersion(), $m->getServerStatus($host, (int)$port));
    show('stats', $names($m->getStats()));
    show('stats settings', $names($m->getStats('settings')));
    show('stats items, slabs', count($m->getStats('items') ?: []) > 0, count($m->getStats('slabs') ?: []) > 0, count($m->getExtendedStats()));
    show('close', $m->close(), $m->get('lasting'));
}

// spread distributes keys over two servers by every hash and strategy, the last time with weights.
function spread(): void {
    global $servers;
    foreach (['standard', 'consistent'] as $strategy) {
        foreach (['crc32', 'fnv'] as $hash) {
            ini_set('memcache.hash_strategy', $strategy);
            ini_set('memcache.hash_function', $hash);
            foreach ([[1, 1], [30, 70]] as $weights) {
                $m = new Memcache();
                foreach ($servers as $i => [$host, $port]) { $m->addServer($host, (int)$port, false, $weights[$i], 20); }
                $name = "$strategy-$hash-$weights[0]";
                $all = [];
                for ($i = 0; $i < 200; $i++) { $all["$name:$i"] = "value $i"; }
                show($name, $m->set($all), $m->get(array_keys($all)) == $all, $m->get("$name:7"), $m->delete("$name:8"), count($m->get(array_keys($all))));
            }
        }
    }
}

$mode();
echo "done\n";
