<?php
// Compares what a route brought with what PHP stores itself. Standard input has lines of a number and the row as JSON.
list(, $library, $host, $port, $step) = $argv;
if ($library == 'memcached') {
    $cache = new Memcached();
    $cache->addServer($host, (int) $port);
} else {
    $cache = new Memcache();
    $cache->connect($host, (int) $port);
}
$equal = 0;
while (($line = fgets(STDIN)) !== false) {
    list($id, $json) = explode("\t", rtrim($line, "\n"), 2);
    $filled = $cache->get('row:' . $id);
    if ($step == 'ask') {
        continue;
    }
    $value = json_decode($json, true, 512, JSON_THROW_ON_ERROR);
    if ($library == 'memcached') {
        $cache->set('own:' . $id, $value);
    } else {
        $cache->set('own:' . $id, $value, 0, 0);
    }
    $own = $cache->get('own:' . $id);
    if ($own !== $value) {
        die("PHP does not get back what it stored: $json\n");
    }
    if (serialize($filled) !== serialize($own)) {
        die("row $id\nfilled " . var_export($filled, true) . "\nown    " . var_export($own, true) . "\n");
    }
    $equal++;
}
echo $equal, "\n";
