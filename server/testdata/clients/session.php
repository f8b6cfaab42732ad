<?php
// What PHP's session handlers do on servers, with locking: memcached or memcache, in text or binary.
// Usage: php session.php memcached|memcache text|binary steps SERVER, or the same with spread SERVER SERVER
[, $handler, $protocol, $mode] = $argv;
$servers = array_slice($argv, 4, $mode === 'spread' ? 2 : 1);
ob_start(null, 0, PHP_OUTPUT_HANDLER_FLUSHABLE); // the handlers send headers
$binary = $protocol === 'binary';
$id = 'abcdefghijklmnopqrstuvwxyz012345';
foreach (['session.use_cookies' => 0, 'session.use_strict_mode' => 0, 'session.cache_limiter' => '', 'session.gc_probability' => 0, 'session.save_handler' => $handler,
    'session.save_path' => implode(',', array_map(fn($s) => $handler === 'memcached' ? $s : "tcp://$s", $servers)),
    'memcached.sess_binary_protocol' => (int)$binary, 'memcached.sess_lock_wait_min' => 1, 'memcached.sess_lock_wait_max' => 2, 'memcached.sess_lock_retries' => 3,
    'memcache.protocol' => $binary ? 'binary' : 'ascii', 'memcache.lock_timeout' => 20] as $name => $value) {
    ini_set($name, (string)$value);
}

// request is another visit of the same visitor, in a process of its own: it tells what its session_start says and what it finds there.
function request(): void {
    global $id, $argv;
    ini_set('memcached.sess_lock_retries', $argv[5]);
    fwrite(STDOUT, "starting\n");
    session_id($id);
    fwrite(STDOUT, json_encode(@session_start()) . ' ' . json_encode($_SESSION['user'] ?? null) . "\n");
}

// start begins a request and returns what it writes, of which the first line has been read.
function start(int $retries): mixed {
    global $argv, $handler, $protocol;
    $process = popen(implode(' ', array_map('escapeshellarg', [PHP_BINARY, __FILE__, $handler, $protocol, 'request', $argv[4], (string)$retries])), 'r');
    fgets($process);
    return $process;
}

function finish(mixed $process): string {
    $text = trim(stream_get_contents($process));
    pclose($process);
    return $text;
}

function visit(string $id): void {
    session_id($id);
    session_start();
}

function steps(): void {
    global $id, $handler, $servers;
    $m = new Memcached();
    [$host, $port] = explode(':', $servers[0]);
    $m->addServer($host, (int)$port);
    $m->flush();
    $lock = $handler === 'memcached' ? "memc.sess.key.lock.$id" : "$id.lock";
    session_id($id);
    echo 'start: ', json_encode(session_start()), ' ', json_encode($_SESSION), "\n";
    echo 'locked: ', json_encode($m->get($lock) !== false), "\n";
    if ($handler === 'memcached') {
        echo 'meanwhile: ', finish(start(3)), "\n"; // gives up
    }
    $waiting = start(100000);
    $_SESSION = ['user' => 7, 'basket' => ['a' => 1.5, 'b' => null], 'text' => str_repeat('x', 5000)];
    session_write_close();
    echo 'waited: ', finish($waiting), "\n";
    echo 'unlocked: ', json_encode($m->get($lock) === false), "\n";
    visit($id);
    echo 'read: ', md5(serialize($_SESSION)), ' ', count($_SESSION), "\n";
    $_SESSION['user']++;
    session_write_close();
    visit($id);
    echo 'changed: ', $_SESSION['user'], "\n";
    if ($handler === 'memcached') { // the other one would keep its lock
        session_abort();
        visit($id);
        echo 'not changed: ', $_SESSION['user'], "\n";
    }
    session_regenerate_id(true);
    $new = session_id();
    session_write_close();
    visit($new);
    echo 'new id: ', json_encode($new !== $id), ' ', $_SESSION['user'], "\n";
    session_destroy();
    visit($new);
    echo 'destroyed: ', json_encode($_SESSION), "\n";
    $_SESSION['large'] = str_repeat('all work and no play ', 40000);
    session_write_close();
    visit($new);
    echo 'large: ', strlen($_SESSION['large']), "\n";
    session_destroy();
    visit($id);
    $_SESSION['user'] = 'kept';
    session_write_close();
}

function spread(): void {
    foreach ([1, 2] as $way) {
        ini_set('memcached.sess_consistent_hash', (string)($way - 1));
        ini_set('memcache.session_redundancy', (string)$way);
        $right = 0;
        for ($i = 0; $i < 40; $i++) {
            visit("way-$way,$i");
            $_SESSION['i'] = $i;
            session_write_close();
            visit("way-$way,$i");
            $right += $_SESSION['i'] === $i ? 1 : 0;
            session_write_close();
        }
        echo "way $way: $right\n";
    }
}

$mode();
if ($mode !== 'request') { echo "done\n"; }
