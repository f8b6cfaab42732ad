<?php
// What php-memcached says of servers.
// Usage: php memcached.php text|binary steps SERVER, or php memcached.php text|binary spread SERVER SERVER
[, $protocol, $mode] = $argv;
$servers = array_map(fn($s) => explode(':', $s), array_slice($argv, 3));
$binary = $protocol === 'binary';

class Point { public function __construct(public int $x, public int $y) {} }

function client(array $options = [], ?string $persistent = null): Memcached {
    global $servers, $binary;
    $m = new Memcached($persistent);
    $m->setOptions([Memcached::OPT_BINARY_PROTOCOL => $binary, Memcached::OPT_TCP_NODELAY => true, Memcached::OPT_POLL_TIMEOUT => 20000] + $options);
    $m->addServers(array_map(fn($s) => [$s[0], (int)$s[1]], $servers));
    return $m;
}

// show prints a step with what came of it and the last result code.
function show(string $step, mixed ...$values): void {
    global $m;
    $text = fn($v) => json_encode($v, JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_PRESERVE_ZERO_FRACTION);
    echo $step, ': ', implode(' ', array_map($text, $values)), ' ', $m->getResultCode(), "\n";
}

// types tries every type; what a serializer makes of one of them, it makes of it with either server.
function types(string $prefix): void {
    global $m;
    $types = ['string' => 'text', 'empty' => '', 'unicode' => 'größer ☃ 語', 'int' => 42, 'negative' => -7, 'least' => PHP_INT_MIN, 'float' => 1.5, 'infinite' => INF,
        'true' => true, 'false' => false, 'null' => null, 'list' => [1, 'two', [3.5, null]], 'map' => ['a' => 1, 'b' => ['c' => 'd']],
        'object' => new Point(1, 2), 'bytes' => "\0\r\n\xff END\r\n"];
    foreach ($types as $name => $value) {
        $set = $m->set("$prefix-$name", $value);
        $code = $m->getResultCode();
        $got = $m->get("$prefix-$name");
        show("$prefix, $name", $set, $code, $got === $value, $got == $value, get_debug_type($got));
    }
}

function steps(): void {
    global $m, $binary;
    $m = client();
    show('flush', $m->set('gone', 1), $m->flush(), $m->get('gone'));

    // Types keep through flags, with each serializer.
    $serializers = ['php' => Memcached::SERIALIZER_PHP, 'json' => Memcached::SERIALIZER_JSON, 'json array' => Memcached::SERIALIZER_JSON_ARRAY];
    if (Memcached::HAVE_IGBINARY) { $serializers['igbinary'] = Memcached::SERIALIZER_IGBINARY; }
    if (Memcached::HAVE_MSGPACK) { $serializers['msgpack'] = Memcached::SERIALIZER_MSGPACK; }
    foreach ($serializers as $name => $serializer) {
        $m->setOption(Memcached::OPT_SERIALIZER, $serializer);
        types(strtr($name, ' ', '-'));
    }
    $m->setOption(Memcached::OPT_SERIALIZER, Memcached::SERIALIZER_PHP);
    show('get nothing', $m->get('nothing'), $m->get('nothing', function ($m, $key, &$value) { $value = "made for $key"; return true; }), $m->get('nothing'), $m->delete('nothing'));
    $m->setOption(Memcached::OPT_USER_FLAGS, 0xbeef);
    show('user flags', $m->set('flags', 'x'), $m->get('flags', null, Memcached::GET_EXTENDED)['flags']);
    $m->setOption(Memcached::OPT_USER_FLAGS, -1);

    // Values from the threshold on are compressed, if that makes them smaller; without compression they go as they are.
    foreach (['fastlz' => Memcached::COMPRESSION_FASTLZ, 'zlib' => Memcached::COMPRESSION_ZLIB] as $name => $type) {
        $m->setOption(Memcached::OPT_COMPRESSION_TYPE, $type);
        foreach ([1999, 2000, 2001, 100000] as $size) {
            $text = substr(str_repeat('all work and no play ', 5000), 0, $size);
            show("$name $size", $m->set("$name-$size", $text), $m->get("$name-$size") === $text);
        }
        show("$name list", $m->set("$name-list", range(1, 3000)), $m->get("$name-list") === range(1, 3000));
    }
    mt_srand(1);
    $noise = '';
    while (strlen($noise) < 300000) { $noise .= pack('N', mt_rand()); }
    show('noise', $m->set('noise', $noise), $m->get('noise') === $noise);
    $m->setOption(Memcached::OPT_COMPRESSION, false);
    show('plain', $m->set('plain', str_repeat('y', 1000000)), strlen($m->get('plain')));
    show('too large', $m->set('plain', str_repeat('z', 2000000)));
    show('after too large', $m->get('plain'), $m->set('plain', 'small'));
    $m->setOption(Memcached::OPT_COMPRESSION, true);

    // Many at once.
    $many = [];
    for ($i = 0; $i < 500; $i++) { $many["key-$i"] = "value $i"; }
    show('setMulti', $m->setMulti($many, 100));
    show('getMulti', $m->getMulti(array_keys($many)) === $many);
    show('some', $m->getMulti(['key-1', 'none-1', 'key-2', 'none-2']), $m->getMulti(['none']), $m->getMulti([]));
    show('order kept', $m->getMulti(['key-9', 'none', 'key-3'], Memcached::GET_PRESERVE_ORDER));
    $extended = $m->getMulti(['key-9', 'none', 'key-3'], Memcached::GET_EXTENDED | Memcached::GET_PRESERVE_ORDER);
    show('extended', array_map(fn($i) => $i ? [$i['value'], $i['flags'], $i['cas'] > 0] : $i, $extended));
    show('cas from many', $m->cas($extended['key-9']['cas'], 'key-9', 'swapped'), $m->cas($extended['key-9']['cas'], 'key-9', 'again'), $m->get('key-9'));
    foreach ([true, false] as $cas) {
        show('getDelayed', $m->getDelayed(['key-5', 'none', 'key-6'], $cas));
        $fetched = array_map(fn($i) => [$i['key'], $i['value'], ($i['cas'] ?? 0) > 0], $m->fetchAll());
        sort($fetched);
        show('fetchAll', $fetched);
    }
    $called = [];
    $m->getDelayed(['key-5', 'key-6'], true, function ($m, $i) use (&$called) { $called[] = $i['value']; });
    sort($called);
    show('getDelayed, callback', $called);
    $m->getDelayed(['key-7']);
    show('fetch', $m->fetch()['value'] ?? null, $m->fetch());
    $deleted = $m->deleteMulti(['key-1', 'none', 'key-2']);
    show('deleteMulti', $deleted, $m->getMulti(['key-1', 'key-2', 'key-3']));
    show('by key', $m->setByKey('server', 'by', 'key'), $m->getByKey('server', 'by'), $m->setMultiByKey('server', ['by-1' => 1, 'by-2' => 2]), $m->getMultiByKey('server', ['by-1', 'by-2']),
        $m->incrementByKey('server', 'by-1', 5), $m->touchByKey('server', 'by', 100), $m->deleteByKey('server', 'by-2'), $m->addByKey('server', 'by-1', 1));

    // Storage commands.
    show('add', $m->add('new', 1), $m->add('new', 2), $m->get('new'));
    show('replace', $m->replace('new', 3), $m->get('new'), $m->replace('absent', 3));
    $m->setOption(Memcached::OPT_COMPRESSION, false); // as append wants it
    $m->set('text', 'b');
    show('append', $m->append('text', 'c'), $m->prepend('text', 'a'), $m->get('text'));
    show('append to nothing', $m->append('absent', 'x'), $m->getResultCode(), $m->prepend('absent', 'x'));
    show('delete', $m->delete('new'), $m->delete('new'));

    // Compare and swap.
    $m->set('swap', 'one');
    $item = $m->get('swap', null, Memcached::GET_EXTENDED);
    show('get extended', $item['value'], $item['flags'], $item['cas'] > 0, $m->get('absent', null, Memcached::GET_EXTENDED));
    show('cas', $m->cas($item['cas'], 'swap', 'two'), $m->get('swap'));
    show('cas again', $m->cas($item['cas'], 'swap', 'three'));
    show('cas after', $m->get('swap'));
    show('cas of nothing', $m->cas($item['cas'], 'absent', 'x'));

    // Counters.
    show('increment nothing', $m->increment('count'));
    show('set count', $m->set('count', 5));
    show('increment', $m->increment('count'), $m->increment('count', 10), $m->decrement('count', 6), $m->decrement('count', 100), $m->get('count'));
    $m->set('count', '18446744073709551615');
    show('wrap', $m->increment('count', 2), $m->get('count'));
    $m->set('count', 99);
    show('wider, narrower', $m->increment('count'), $m->decrement('count'), $m->get('count'), $m->increment('count', 5));
    show('increment text', $m->increment('text'), $m->getResultCode(), $m->decrement('php-list'));
    if ($binary) {
        show('increment from', $m->increment('from', 5, 100, 60), $m->increment('from', 5, 100, 60), $m->decrement('down', 1, 7), $m->decrement('down', 1, 7));
    }

    // Times to live.
    show('touch', $m->set('brief', 1, 1000), $m->touch('brief', 2000), $m->get('brief'), $m->touch('absent', 10));
    $m->set('touched', 1);
    show('touch to the past', $m->touch('touched', time() - 10000), $m->get('touched'));
    show('over', $m->set('over', 1, time() - 10000), $m->get('over'), $m->add('over', 2, 3000), $m->get('over'), $m->set('negative', 1, -1), $m->get('negative'));

    // Keys.
    $m->setOption(Memcached::OPT_PREFIX_KEY, 'prefix:');
    show('prefix', $m->set('k', 'v'), $m->get('k'), $m->getMulti(['k']), $m->delete('nothing'));
    foreach ([242, 243] as $n) { show("prefix and key of $n", $m->set(str_repeat('k', $n), $n), $m->get(str_repeat('k', $n))); }
    show('prefix and longer key', $m->set(str_repeat('k', 244), 1));
    $m->setOption(Memcached::OPT_PREFIX_KEY, '');
    show('without prefix', $m->get('prefix:k'));
    foreach ([249, 250, 251] as $n) { show("key of $n", $m->set(str_repeat('k', $n), $n), $m->get(str_repeat('k', $n))); }
    show('odd keys', $m->set('schlüssel', 1), $m->get('schlüssel'), $m->set('with blank', 1), $m->getResultCode(), $m->get(''));

    // Ways of sending.
    $ways = ['not blocking' => [Memcached::OPT_NO_BLOCK => true], 'buffered' => [Memcached::OPT_BUFFER_WRITES => true],
        'both' => [Memcached::OPT_NO_BLOCK => true, Memcached::OPT_BUFFER_WRITES => true], 'noreply' => [Memcached::OPT_NOREPLY => true]];
    if (!$binary) { $ways['verified'] = [Memcached::OPT_VERIFY_KEY => true]; }
    foreach ($ways as $way => $options) {
        $m = client([Memcached::OPT_COMPRESSION => false] + $options);
        $name = strtr($way, ' ', '-');
        $all = [];
        for ($i = 0; $i < 300; $i++) { $m->set("$name-$i", $all["$name-$i"] = $i); }
        $code = $m->getResultCode();
        $m->flushBuffers();
        show($way, $code, $m->getMulti(array_keys($all)) === $all);
        $m->delete("$name-3");
        $m->add("$name-4", 'not added');
        $m->append("$name-5", 'x');
        $m->touch("$name-8", 1000);
        $m->flushBuffers();
        show("$way, more", $m->getMulti(["$name-3", "$name-4", "$name-5"]), $m->setMulti(["$name-6" => 'six', "$name-7" => 'seven']), $m->get("$name-7"), $m->get("$name-6"));
    }
    $m = client();
    if (Memcached::HAVE_ENCODING) { show('encoded', $m->setEncodingKey('secret'), $m->set('encoded', 'secret text'), $m->get('encoded')); }
    $m = client([], 'lasting');
    show('persistent', $m->isPersistent(), $m->set('lasting', 1), client([], 'lasting')->get('lasting'));

    // The server.
    $m = client();
    show('version', array_values($m->getVersion()));
    $names = function (array $all): array { $names = array_keys(array_values($all)[0]); sort($names); return $names; };
    show('stats', $names($m->getStats()), array_values($m->getStats())[0]['pointer_size']);
    show('stats settings', $names($m->getStats('settings')));
    if (!$binary) {
        $keys = $m->getAllKeys() ?: [];
        sort($keys);
        show('all keys', count($keys), md5(implode("\n", $keys)));
    }
    show('quit', $m->quit(), $m->get('lasting'));
}

// spread distributes keys over two servers in every way that the library knows.
function spread(): void {
    global $m, $servers;
    $md5 = [Memcached::OPT_HASH => Memcached::HASH_MD5];
    $consistent = [Memcached::OPT_DISTRIBUTION => Memcached::DISTRIBUTION_CONSISTENT];
    foreach (['modula' => [], 'md5' => $md5, 'crc' => [Memcached::OPT_HASH => Memcached::HASH_CRC], 'fnv' => [Memcached::OPT_HASH => Memcached::HASH_FNV1A_64],
        'murmur' => [Memcached::OPT_HASH => Memcached::HASH_MURMUR], 'consistent' => $consistent, 'consistent-md5' => $consistent + $md5,
        'ketama' => [Memcached::OPT_LIBKETAMA_COMPATIBLE => true], 'sorted' => [Memcached::OPT_SORT_HOSTS => true],
        'with-prefix' => [Memcached::OPT_HASH_WITH_PREFIX_KEY => true, Memcached::OPT_PREFIX_KEY => 'prefix:']] as $name => $options) {
        $m = client($options);
        $all = [];
        for ($i = 0; $i < 200; $i++) { $all["$name:$i"] = "value $i"; }
        show($name, $m->setMulti($all), $m->getMulti(array_keys($all)) == $all, $m->get("$name:7"), $m->delete("$name:8"), count($m->getMulti(array_keys($all))));
        show("$name, by key", $m->setByKey('server', "$name:by", 1), $m->getByKey('server', "$name:by"));
    }
    $m = new Memcached();
    $m->setOption(Memcached::OPT_LIBKETAMA_COMPATIBLE, true);
    $m->addServers([[$servers[0][0], (int)$servers[0][1], 30], [$servers[1][0], (int)$servers[1][1], 70]]);
    for ($i = 0; $i < 200; $i++) { $m->set("weighted:$i", $i); }
    show('weighted', count($m->getMulti(array_map(fn($i) => "weighted:$i", range(0, 199)))));
}

$mode();
echo "done\n";
