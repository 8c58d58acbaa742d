"""S3: small and large objects on SeaweedFS, the large ones also on the JuiceFS gateway, since SeaweedFS itself is slow with
those; then the requests that everybody sends, counted in a run that is not timed."""

import once
import trees
from counting import Counter
from remote import away, count, measure
from report import chosen
from s3_servers import BUCKET, KEYS, REGION, juicefs, seaweed


def run(given, work):
    large = [int((256 << 20) * given.scale)] * 2
    files = int(5_000 * given.scale)
    mixed, huge = f"{work}/mixed", f"{work}/huge"
    trees.make_mixed(mixed, files, 16 << 10, large)
    trees.make_mixed(huge, 0, 0, large)
    tools = chosen(given, s3_tools(given.wl, work), "s3")
    size = f"{large[0] >> 20} MiB"
    figures = {}
    with seaweed(f"{work}/seaweed") as server:
        title = f"SeaweedFS, {files} objects of 16 KiB and 2 of {size}"
        figures["seaweed"] = measure(given, title, tools, server, server.address, mixed, f"{work}/seaweed-runs")
        figures["requests"] = count(tools, server, Counter(server.address), mixed, f"{work}/counted")
    with juicefs(f"{work}/juicefs") as server:
        title = f"JuiceFS gateway, 2 objects of {size}"
        figures["juicefs"] = measure(given, title, tools, server, server.address, huge, f"{work}/juicefs-runs")
    return figures


def s3_tools(wl, work):
    env = {**KEYS, "AWS_REGION": REGION, "AWS_CONFIG_FILE": f"{work}/aws.conf", "AWS_EC2_METADATA_DISABLED": "true"}
    with open(env["AWS_CONFIG_FILE"], "w") as file:
        file.write("[default]\ns3 =\n    max_concurrent_requests = 32\n    multipart_chunksize = 16MB\n")
    every = [
        once.Wl(wl, spell_wl, env),
        once.Once("s5cmd", "sent with its checksum; size, mtime", s5cmd, env=env),
        once.Once("rclone", "sent with its md5; size, mtime", rclone, env=env),
        once.Once("aws", "sent with its checksum; size, mtime", aws, env=env),
    ]
    return once.installed(every)


def endpoint(source, target):
    return f"http://{away(source, target).address}"


def url(place, local):
    """As everybody but wl calls a place."""
    return local.format(place) if isinstance(place, str) else f"s3://{BUCKET}/{place.path}/"


def spell_wl(place):
    if isinstance(place, str):
        return place
    return (f"s3://{BUCKET}/{place.path}?endpoint=http://{place.address}&region={REGION}"
            "&access-key=env:AWS_ACCESS_KEY_ID&secret-key=env:AWS_SECRET_ACCESS_KEY")


def s5cmd(source, target):
    everything = url(source, "{}/") + ("" if isinstance(source, str) else "*")
    return ["s5cmd", "--log", "error", "--endpoint-url", endpoint(source, target), "sync", everything, url(target, "{}/")]


def rclone(source, target):
    """Comparing with the server's times, as its manual advises, since its own cost a HEAD for each object."""
    def spell(place):
        return place if isinstance(place, str) else f":s3:{BUCKET}/{place.path}"
    return ["rclone", "sync", spell(source), spell(target), "--quiet", "--s3-provider", "SeaweedFS", "--s3-env-auth",
            "--s3-endpoint", endpoint(source, target), "--s3-no-check-bucket", "--transfers", "32", "--checkers", "32",
            "--fast-list", "--s3-upload-concurrency", "16", "--s3-chunk-size", "16M", "--multi-thread-streams", "16",
            "--multi-thread-cutoff", "64M", "--update", "--use-server-modtime"]


def aws(source, target):
    return ["aws", "--endpoint-url", endpoint(source, target), "s3", "sync", "--only-show-errors", url(source, "{}"),
            url(target, "{}")]
