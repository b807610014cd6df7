import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** Java's HttpClient with its defaults: it offers HTTP/2 by Upgrade, and declares no type. */
class Predict {
    static final HttpClient client = HttpClient.newHttpClient();
    static URI uri;

    static void show(HttpRequest.Builder request, byte[] body) throws Exception {
        var answer = client.send(request.POST(BodyPublishers.ofByteArray(body)).build(), BodyHandlers.ofString());
        if (answer.statusCode() != 200) throw new RuntimeException(answer.body());
        var labels = Pattern.compile("\"label\":(\\d)").matcher(answer.body()).results();
        System.out.println(labels.map(found -> found.group(1)).collect(Collectors.joining(" ")));
    }

    static void showForm(byte[]... images) throws Exception {
        var form = new ByteArrayOutputStream();
        for (var image : images) {
            form.write("--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"digit.png\"\r\n\r\n".getBytes());
            form.write(image);
            form.write("\r\n".getBytes());
        }
        form.write("--edge--\r\n".getBytes());
        var request = HttpRequest.newBuilder(uri).header("Content-Type", "multipart/form-data; boundary=edge");
        show(request, form.toByteArray());
    }

    public static void main(String[] arguments) throws Exception {
        uri = URI.create(arguments[0] + "/predict");
        var three = Files.readAllBytes(Path.of(arguments[1]));
        var five = Files.readAllBytes(Path.of(arguments[2]));
        showForm(three);
        show(HttpRequest.newBuilder(uri), three);
        var document = "{\"image\": \"" + Base64.getEncoder().encodeToString(three) + "\"}";
        show(HttpRequest.newBuilder(uri), document.getBytes());
        showForm(three, five);
    }
}
