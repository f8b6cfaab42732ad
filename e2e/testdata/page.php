<?php
// A page of a site that has cached in memcached for years. Only host and port are new. Three of its blocks ask for the same
// characteristics; each was written by somebody else and joins the parts of the key in an order of its own.
list(, $library, $host, $port, $block, $country, $device, $os, $browser, $category, $width, $height) = $argv;

$visitor = array(
    'country' => $country, 'dev' => $device, 'os' => $os, 'browser' => $browser,
    'cat' => $category, 'w' => $width, 'h' => $height,
);
switch ($block) {
    case 'header':
        $order = array('country', 'dev', 'os', 'browser', 'cat', 'w', 'h');
        break;
    case 'sidebar':
        $order = array('h', 'w', 'cat', 'browser', 'os', 'dev', 'country');
        break;
    default:
        $order = array('os', 'w', 'h', 'country', 'browser', 'dev', 'cat');
}
$key = 'chr';
foreach ($order as $part) {
    $key .= '|' . $part . '=' . $visitor[$part];
}

if ($library == 'memcached') {
    $cache = new Memcached();
    $cache->addServer($host, (int) $port);
    $row = $cache->get($key);
    if ($row === false && $cache->getResultCode() != Memcached::RES_NOTFOUND) {
        die('error: ' . $cache->getResultMessage() . "\n");
    }
} else {
    $cache = new Memcache();
    if (!$cache->connect($host, (int) $port)) {
        die("error: no connection\n");
    }
    $row = $cache->get($key);
}

if ($row === false) {
    echo "nothing\n"; // the page shows its default advertisement
} elseif (!is_array($row)) {
    echo 'no array: ' . var_export($row, true) . "\n";
} else {
    echo $row['size'] . ' ' . implode(',', $row['formats']) . ' ' . $row['currency'] . ' ' . implode(',', $row['languages']) . "\n";
}

// What the site caches for itself goes through the same server: arrays, a counter, a lock.
$mine = 'page:' . $library . ':' . $block;
if ($cache->get($mine) === false) {
    $value = array('device' => (int) $device, 'when' => 1.5, 'ok' => true, 'none' => null, 'name' => "Zo\u{eb}");
    if ($library == 'memcached') {
        $cache->set($mine, $value, 60);
    } else {
        $cache->set($mine, $value, 0, 60);
    }
    if ($cache->get($mine) !== $value) {
        die("error: the page's own array came back changed\n");
    }
}
$cache->add('visits', 0);
$cache->increment('visits');
