// What wl depends on of Nextcloud 32, done again with sabre/dav 1.8. From its apps/dav/lib: a PUT is taken whole or not at
// all, says its hash and keeps its date (Connector/Sabre/File); directories have entity tags of all that is below them; and
// large files come in chunks (Upload/UploadHome, UploadFolder, FutureFile, AssemblyStream, ChunkingPlugin). Not here: the
// variant for object stores (ChunkingV2Plugin), quotas, and Nextcloud's own locks on files.

use Sabre\DAV\Exception;

/** Connector/Sabre/File::put: written aside, and renamed if it is as long as announced. */
function take($path, $data) {
    $header = function($name) { return $GLOBALS['server']->httpRequest->getHeader($name); };
    $part = tempnam(__DIR__ . '/temp', 'part');
    chmod($part, 0666);
    if (is_resource($data)) {
        $to = fopen($part, 'w');
        $count = stream_copy_to_stream($data, $to);
        fclose($to);
    } else {
        $count = file_put_contents($part, (string)$data);
    }
    if ($_SERVER['REQUEST_METHOD'] === 'PUT' && (int)$header('Content-Length') !== $count) {
        unlink($part);
        throw new Exception\BadRequest('Expected filesize of ' . $header('Content-Length') . ' but read ' . $count);
    }
    if (in_array($header('X-Hash'), ['sha256', 'all'])) header('X-Hash-SHA256: ' . hash_file('sha256', $part));
    if (is_numeric($header('X-OC-Mtime'))) {
        touch($part, (int)$header('X-OC-Mtime'));
        header('X-OC-MTime: accepted');
    }
    rename($part, $path);
    clearstatcache();
    return '"' . md5_file($path) . '"';
}

class TakenFile extends Sabre\DAV\FSExt\File {
    function put($data) { return take($this->path, $data); }
}

class TakingDirectory extends Sabre\DAV\FSExt\Directory {
    private $name;
    function __construct($path, $name = null) { parent::__construct($path); $this->name = $name; }
    function getName() { return $this->name !== null ? $this->name : parent::getName(); }
    function createFile($name, $data = null) { return take($this->path . '/' . $name, $data); }
    function getChild($name) {
        $child = parent::getChild($name);
        return $child instanceof Sabre\DAV\ICollection ? new self($this->path . '/' . $name) : new TakenFile($this->path . '/' . $name);
    }
}

/** A user's uploads: a directory each. */
class UploadHome extends Sabre\DAV\Collection {
    private $path;
    function __construct($path) { $this->path = $path; @mkdir($path); }
    function getName() { return 'test'; }
    function createFile($name, $data = null) { throw new Exception\Forbidden('Permission denied to create file'); }
    function createDirectory($name) { if (!@mkdir($this->path . '/' . $name)) throw new Exception\MethodNotAllowed('It exists'); }
    function getChildren() { return array_map([$this, 'getChild'], array_diff(scandir($this->path), ['.', '..'])); }
    function getChild($name) {
        if (!is_dir($this->path . '/' . $name)) throw new Exception\NotFound($name);
        return new UploadFolder($this->path . '/' . $name);
    }
}

/** An upload: its chunks, and `.file`, which is all of them. */
class UploadFolder extends Sabre\DAV\Collection {
    public $path;
    function __construct($path) { $this->path = $path; }
    function getName() { return basename($this->path); }
    function getLastModified() { return filemtime($this->path); }
    function createFile($name, $data = null) { return take($this->path . '/' . $name, $data); }
    function createDirectory($name) { throw new Exception\Forbidden('Permission denied to create a directory'); }
    function chunks() {
        $names = array_diff(scandir($this->path), ['.', '..']);
        usort($names, 'strnatcmp');
        return array_map(function($name) { return new TakenFile($this->path . '/' . $name); }, $names);
    }
    function getChildren() { return array_merge([new FutureFile($this)], $this->chunks()); }
    function getChild($name) {
        if ($name === '.file') return new FutureFile($this);
        if (!is_file($this->path . '/' . $name)) throw new Exception\NotFound($name);
        return new TakenFile($this->path . '/' . $name);
    }
    function delete() { array_map('unlink', glob($this->path . '/*')); @rmdir($this->path); }
}

class FutureFile extends Sabre\DAV\File {
    private $folder;
    function __construct($folder) { $this->folder = $folder; }
    function getName() { return '.file'; }
    function getLastModified() { return $this->folder->getLastModified(); }
    function getSize() { return array_sum(array_map(function($chunk) { return $chunk->getSize(); }, $this->folder->chunks())); }
    function delete() { $this->folder->delete(); }
    function get() {
        $all = tmpfile();
        foreach ($this->folder->chunks() as $chunk) stream_copy_to_stream($chunk->get(), $all);
        rewind($all);
        return $all;
    }
}

$uploads = new Sabre\DAV\SimpleCollection('uploads', [new UploadHome(__DIR__ . '/temp/uploads')]);
$files = new Sabre\DAV\SimpleCollection('files', [new TakingDirectory(__DIR__ . '/root/dav', 'test')]);
$all = new Sabre\DAV\SimpleCollection('dav', [$files, $uploads]);
$server->tree = new Sabre\DAV\ObjectTree(new Sabre\DAV\SimpleCollection('root', [
    new Sabre\DAV\SimpleCollection('remote.php', [$all]),
    new TakingDirectory(__DIR__ . '/root/dav', 'dav'),
]));

/** ChunkingPlugin::beforeMove: what it replaces is not deleted first, and all chunks must be there. */
$server->subscribeEvent('beforeMethod', function($method, $uri) use ($server) {
    if ($method !== 'MOVE' || basename($uri) !== '.file') return;
    $source = $server->tree->getNodeForPath($uri);
    if (!$source instanceof FutureFile) return;
    $to = $server->getCopyAndMoveInfo();
    if ($to['destinationNode'] instanceof Sabre\DAV\ICollection) throw new Exception\BadRequest('The given destination is a directory.');
    $expected = $server->httpRequest->getHeader('OC-Total-Length');
    if ($expected !== null && $expected !== (string)$source->getSize()) {
        throw new Exception\BadRequest("Chunks on server do not sum up to $expected but to {$source->getSize()} bytes");
    }
    $server->tree->move($uri, $to['destination']);
    $server->httpResponse->setHeader('Content-Length', '0');
    $server->httpResponse->sendStatus($to['destinationExists'] ? 204 : 201);
    return false;
});

function tag_of($dir) {
    $all = '';
    foreach (scandir($dir) as $name) {
        if ($name === '.' || $name === '..' || $name === '.sabredav') continue;
        $path = $dir . '/' . $name;
        $all .= $name . (is_dir($path) ? '/' . tag_of($path) : ':' . @md5_file($path)) . PHP_EOL;
    }
    return md5($all);
}
$server->subscribeEvent('beforeGetProperties', function($uri, $node, &$wanted, &$known) {
    $below = preg_replace('#^(remote\.php/dav/files/test|dav)(?=/|$)#', '', trim($uri, '/'), 1, $found);
    if ($found && $node instanceof Sabre\DAV\ICollection && in_array('{DAV:}getetag', $wanted)) {
        clearstatcache();
        $known[200]['{DAV:}getetag'] = '"' . tag_of(__DIR__ . '/root/dav' . $below) . '"';
    }
});
